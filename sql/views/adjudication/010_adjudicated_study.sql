-- grain: one row a study and condition that somebody has read blind.
-- The first two reads count; where they differ, the first arbiter's answer settles the study.
create view adjudicated_study as
with numbered as (
    select
        *,
        row_number() over (partition by study_key, target_condition, arbiter order by seq) as nth
    from adjudication
),

gathered as (
    select
        study_key,
        target_condition,
        max(answer) filter (where not arbiter and nth = 1) as first_answer,
        max(answer) filter (where not arbiter and nth = 2) as second_answer,
        max(answer) filter (where arbiter and nth = 1) as arbiter_answer
    from numbered
    group by study_key, target_condition
)

select
    study_key,
    target_condition,
    first_answer,
    second_answer,
    case
        when second_answer is null then null
        when first_answer = second_answer then first_answer
        else arbiter_answer
    end as answer
from gathered
order by study_key, target_condition;
