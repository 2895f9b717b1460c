-- grain: one row a site whose archive was asked, or should have been. asked_until: the last day that has an answer.
with asked as (
    select
        split_part(object, ':', 1) as site,
        split_part(object, ':', 2)::date as day,
        bool_or(action = 'archive_asked') as answered
    from audit
    where action in ('archive_asked', 'archive_silent')
    group by all
)

select
    site,
    (max(day) filter (where answered))::timestamp at time zone 'UTC' as asked_until,
    count(*) filter (where not answered) as days_without_answer
from asked
group by site
order by site;
