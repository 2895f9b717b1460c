-- grain: one row a exclusion event (shadow.store.events.StudyExcluded). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'study_key' as study_key,
    (body ->> 'revision')::bigint as revision,
    body ->> 'reason' as reason,
    body ->> 'detail' as detail
from tail
where kind = 'exclusion'
order by seq
