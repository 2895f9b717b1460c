-- grain: one row a site whose archive is asked, or should be: $sites, and any other that was asked.
-- asked_until: the last day that has an answer. days_without_answer: days of the index window without one, from
-- $window_start to the last day that any archive was asked about, or to three days before the newest study here: a day
-- has its answer once it has settled.
with asked as (
    select
        split_part(object, ':', 1) as site,
        split_part(object, ':', 2)::date as day,
        bool_or(action = 'archive_asked') as answered
    from audit
    where action in ('archive_asked', 'archive_silent')
    group by all
),

last_day as (
    select greatest(
        (select max(day) from asked),
        (select (max(acquired_at) at time zone 'UTC')::date - 3 from primary_study)
    ) as day
),

in_window as (
    select unnest(generate_series(
        ($window_start::timestamptz at time zone 'UTC')::date::timestamp,
        least(
            (select day from last_day),
            (($window_end::timestamptz - interval 1 microsecond) at time zone 'UTC')::date
        )::timestamp,
        interval 1 day
    ))::date as day
),

site as (
    select unnest($sites) as site
    union
    select site from asked
),

wanted as (
    select site, day from site cross join in_window
    union
    select site, day from asked
)

select
    wanted.site,
    (max(wanted.day) filter (where asked.answered))::timestamp at time zone 'UTC' as asked_until,
    count(*) filter (where not coalesce(asked.answered, false)) as days_without_answer
from wanted
left join asked using (site, day)
group by wanted.site
order by wanted.site;
