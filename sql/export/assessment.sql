-- grain: one row a assessment event (shadow.store.events.AssessmentPublished). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'snapshot_sha256' as snapshot_sha256,
    (body ->> 'ledger_seq')::bigint as ledger_seq,
    body ->> 'ledger_hash' as ledger_hash
from tail
where kind = 'assessment'
order by seq
