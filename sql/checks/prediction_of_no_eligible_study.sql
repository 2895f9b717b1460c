-- promise: a prediction or failure is about a study that was received before it and not excluded.
with answers as (
    select study_key, revision, seq from prediction
    union all
    select study_key, revision, seq from prediction_failure
)

select answers.study_key, answers.seq
from answers
left join study using (study_key, revision)
left join exclusion using (study_key, revision)
where study.seq is null or study.seq > answers.seq or exclusion.seq is not null
order by answers.seq;
