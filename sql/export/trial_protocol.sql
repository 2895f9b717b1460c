-- grain: one row a trial protocol event (shadow.store.events.TrialRegistered). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'trial' as trial,
    body ->> 'version' as version,
    body ->> 'protocol_sha256' as protocol_sha256,
    body ->> 'protocol_text' as protocol_text,
    body ->> 'sites' as sites,
    body ->> 'models' as models
from tail
where kind = 'trial_protocol'
order by seq
