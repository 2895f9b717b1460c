-- grain: one row a week of index time (Monday, UTC) of the index window up to $until, empty weeks included.
-- $window_start, $window_end: the protocol's index window. labelled: eligible studies whose final report was read.
with weeks as (
    select unnest(
        generate_series(
            date_trunc('week', $window_start::timestamptz),
            date_trunc('week', least($window_end::timestamptz, $until::timestamptz)),
            interval 7 day
        )
    ) as week
)

select
    weeks.week,
    count(evaluation_case.study_key) as eligible,
    count(evaluation_case.study_key) filter (where evaluation_case.reference_state <> 'pending') as labelled
from weeks
left join evaluation_case on date_trunc('week', evaluation_case.acquired_at) = weeks.week
    and evaluation_case.exclusion_reason is null
    and evaluation_case.acquired_at >= $window_start
    and evaluation_case.acquired_at < $window_end
group by weeks.week
order by weeks.week;
