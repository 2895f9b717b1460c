-- grain: one row a group: all, site, scanner, shift, and scanner x shift. From evaluation_case (case.sql).
-- present, absent: reference states. found, cleared: right answers in time.
select
    case grouping(site, scanner, shift)
        when 7 then 'all'
        when 6 then 'shift'
        when 3 then 'site'
        when 1 then 'scanner'
        else 'cell'
    end as dimension,
    coalesce(site, '') as site,
    coalesce(scanner, '') as scanner,
    coalesce(shift, '') as shift,
    count(*) as eligible,
    count(*) filter (where reference_state = 'pending') as pending,
    count(*) filter (where index_state = 'failed') as failed,
    count(*) filter (where index_state = 'late') as late,
    count(*) filter (where reference_state = 'indeterminate') as indeterminate,
    count(*) filter (where reference_state = 'present') as present,
    count(*) filter (where reference_state = 'present' and index_state = 'positive') as found,
    count(*) filter (where reference_state = 'present' and index_state in ('positive', 'negative'))
        as present_evaluable,
    count(*) filter (where reference_state = 'absent') as absent,
    count(*) filter (where reference_state = 'absent' and index_state = 'negative') as cleared,
    count(*) filter (where reference_state = 'absent' and index_state = 'positive') as flagged
from evaluation_case
where exclusion_reason is null
group by grouping sets ((), (site), (shift), (site, scanner), (site, scanner, shift))
order by dimension, site, scanner, shift;
