-- grain: one row a prediction failure event (shadow.store.events.PredictionFailed). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'study_key' as study_key,
    (body ->> 'revision')::bigint as revision,
    body ->> 'model' as model,
    body ->> 'model_sha256' as model_sha256,
    body ->> 'reason' as reason,
    body ->> 'detail' as detail
from tail
where kind = 'prediction_failure'
order by seq
