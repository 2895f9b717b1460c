-- grain: one row a group and week of acquisition (Monday, UTC) that has a listed study; week is null over all weeks.
with dated as (select *, date_trunc('week', acquired_at) as week from listed_study)

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
    week,
    count(*) as listed,
    count(*) filter (where in_time) as in_time,
    count(*) filter (where not in_time and here_now) as later,
    count(*) filter (where not in_time and not here_now) as never,
    count(*) filter (where short_of_instances) as short_of_instances
from dated
group by
    grouping sets (
        (),
        (site),
        (shift),
        (site, scanner),
        (site, shift),
        (site, scanner, shift),
        (week),
        (week, site),
        (week, shift),
        (week, site, scanner),
        (week, site, shift),
        (week, site, scanner, shift)
    )
order by dimension, site, scanner, shift, week nulls first;
