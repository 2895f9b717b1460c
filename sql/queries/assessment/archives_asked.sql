-- grain: one row a site whose archive is asked, or should be: $sites, and any other that was asked.
-- asked_until: the last day that has an answer. days_without_answer: days of the index window without one, from the
-- first ($first_days, by each site's clock) to the last day that any archive was asked about, or to three days before
-- the newest study here: a day has its answer once it has settled.
with declared as (
    select
        unnest($sites) as site,
        unnest($first_days)::date as first_day,
        unnest($last_days)::date as last_day
),

asked as (
    select
        split_part(object, ':', 1) as site,
        split_part(object, ':', 2)::date as day,
        bool_or(action = 'archive_asked') as answered
    from audit
    where action in ('archive_asked', 'archive_silent')
    group by all
),

last_asked as (
    select greatest(
        (select max(day) from asked),
        (select (max(acquired_at) at time zone 'UTC')::date - 3 from primary_study)
    ) as day
),

site as (
    select * from declared
    union
    select
        site,
        (select min(first_day) from declared) as first_day,
        (select max(last_day) from declared) as last_day
    from asked
    where site not in (select site from declared)
),

wanted as (
    select
        site,
        unnest(generate_series(
            first_day::timestamp,
            least((select day from last_asked), last_day)::timestamp,
            interval 1 day
        ))::date as day
    from site
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
