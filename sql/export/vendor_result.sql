-- grain: one row a vendor result event (shadow.store.events.VendorResult). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'model' as model,
    body ->> 'model_sha256' as model_sha256,
    body ->> 'channel' as channel,
    body ->> 'site' as site,
    body ->> 'study_key' as study_key,
    body ->> 'accession_key' as accession_key,
    (body ->> 'index_test_positive')::boolean as index_test_positive,
    (body ->> 'score')::double as score,
    body ->> 'failure_reason' as failure_reason,
    (body ->> 'received_at')::timestamptz as received_at,
    body ->> 'source_sha256' as source_sha256
from tail
where kind = 'vendor_result'
order by seq
