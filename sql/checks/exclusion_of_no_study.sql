-- promise: an exclusion is about a received study revision.
select exclusion.study_key, exclusion.seq
from exclusion
left join study using (study_key, revision)
where study.seq is null
order by exclusion.seq;
