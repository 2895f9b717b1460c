-- grain: one row a monitored case: a patient's first study with the target condition, and first without it.
-- Studies of one patient are no independent evidence. A study without a patient key stands for itself.
-- $window_start, $window_end: the protocol's index window; a study outside it is not monitored.
create or replace temp table monitored_case as
with settled as (
    select
        *,
        row_number() over (
            partition by coalesce(patient_key, study_key), reference_state
            order by acquired_at, study_key
        ) as nth_of_patient
    from evaluation_case
    where exclusion_reason is null
        and reference_state in ('present', 'absent')
        and acquired_at >= $window_start
        and acquired_at < $window_end
)

select * exclude (nth_of_patient)
from settled
where nth_of_patient = 1
order by study_key;
