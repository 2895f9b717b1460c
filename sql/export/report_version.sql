-- grain: one row a report version event (shadow.store.events.ReportVersion). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'report_key' as report_key,
    body ->> 'site' as site,
    body ->> 'accession_key' as accession_key,
    body ->> 'patient_key' as patient_key,
    body ->> 'result_status' as result_status,
    (body ->> 'final')::boolean as final,
    (body ->> 'addendum')::boolean as addendum,
    coalesce((body ->> 'addendum_only')::boolean, false) as addendum_only, -- older bodies do not say
    (body ->> 'observed_at')::timestamptz as observed_at,
    (body ->> 'reported_at')::timestamptz as reported_at,
    (body ->> 'received_at')::timestamptz as received_at,
    body ->> 'text_sha256' as text_sha256,
    body ->> 'message_sha256' as message_sha256,
    body ->> 'patient_class' as patient_class,
    coalesce((body ->> 'mentions_model')::boolean, false) as mentions_model -- older bodies were not searched
from tail
where kind = 'report_version'
order by seq
