-- grain: one row. Real seconds from study closed to prediction locked, by the machine's clock.
-- A study is quiet when no other closed in the second before or after it.
with timed as (
    select
        date_diff('millisecond', machine_closed_at, locked_at) / 1000.0 as seconds,
        least(
            coalesce(date_diff('millisecond', lag(machine_closed_at) over by_time, machine_closed_at), 1000),
            coalesce(date_diff('millisecond', machine_closed_at, lead(machine_closed_at) over by_time), 1000)
        ) >= 1000 as quiet
    from evaluation_case
    where exclusion_reason is null
    window by_time as (order by machine_closed_at, study_key)
)

select
    count(seconds) as locked,
    median(seconds) as median_seconds,
    quantile_cont(seconds, 0.95) as p95_seconds,
    count(seconds) filter (where quiet) as quiet_locked,
    median(seconds) filter (where quiet) as quiet_median_seconds
from timed
order by locked;
