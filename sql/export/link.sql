-- grain: one row a correction of linkage (shadow.store.events.LinkCorrected). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'what' as what,
    body ->> 'site' as site,
    body ->> 'from_key' as from_key,
    body ->> 'to_key' as to_key,
    (body ->> 'active')::boolean as active,
    body ->> 'source' as source,
    body ->> 'actor' as actor,
    body ->> 'reason' as reason,
    (body ->> 'known_at')::timestamptz as known_at
from tail
where kind = 'link'
order by seq
