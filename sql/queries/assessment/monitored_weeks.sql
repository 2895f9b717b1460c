-- grain: one row a week of index time (Monday, UTC) and group that has a monitored case (monitored_case.sql).
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
from monitored_case
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
