-- grain: one row a week of index time (Monday, UTC) and group that has a monitored case.
-- $window_start, $window_end: the protocol's index window; a study outside it is not monitored.
-- A monitored case is a patient's first study with the target condition, or first without it: studies of one patient
-- are no independent evidence. A study without a patient key stands for itself.
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

select
    case grouping(site, scanner, shift)
        when 7 then 'all'
        when 6 then 'shift'
        when 3 then 'site'
        when 2 then 'site_and_shift'
        when 1 then 'scanner'
        else 'cell'
    end as dimension,
    coalesce(site, '') as site,
    coalesce(scanner, '') as scanner,
    coalesce(shift, '') as shift,
    date_trunc('week', acquired_at) as week,
    count(*) filter (where reference_state = 'present' and index_state = 'positive') as found,
    count(*) filter (where reference_state = 'present') as present,
    count(*) filter (where reference_state = 'absent' and index_state = 'negative') as cleared,
    count(*) filter (where reference_state = 'absent') as absent
from settled
where nth_of_patient = 1
group by
    grouping sets (
        (week),
        (week, site),
        (week, shift),
        (week, site, scanner),
        (week, site, shift),
        (week, site, scanner, shift)
    )
order by dimension, site, scanner, shift, week;
