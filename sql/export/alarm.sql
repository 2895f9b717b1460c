-- grain: one row a alarm event (shadow.store.events.AlarmRaised). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'stream' as stream,
    body ->> 'dimension' as dimension,
    body ->> 'site' as site,
    body ->> 'scanner' as scanner,
    body ->> 'shift' as shift,
    (body ->> 'week')::timestamptz as week,
    body ->> 'reason' as reason,
    (body ->> 'found')::bigint as found,
    (body ->> 'present')::bigint as present
from tail
where kind = 'alarm'
order by seq
