-- grain: one row a read (shadow.store.events.AdjudicationRead). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'study_key' as study_key,
    body ->> 'target_condition' as target_condition,
    body ->> 'reader' as reader,
    body ->> 'answer' as answer,
    (body ->> 'arbiter')::boolean as arbiter,
    body ->> 'copies_sha256' as copies_sha256,
    (body ->> 'read_at')::timestamptz as read_at
from tail
where kind = 'adjudication'
order by seq
