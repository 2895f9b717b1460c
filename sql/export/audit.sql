-- grain: one row a audit event (shadow.store.events.Audited). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'identifier' as identifier,
    body ->> 'actor' as actor,
    body ->> 'action' as action,
    body ->> 'object' as object,
    body ->> 'detail' as detail
from tail
where kind = 'audit'
order by seq
