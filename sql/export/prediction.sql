-- grain: one row a prediction event (shadow.store.events.PredictionLocked). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'study_key' as study_key,
    (body ->> 'revision')::bigint as revision,
    body ->> 'model' as model,
    body ->> 'model_sha256' as model_sha256,
    body ->> 'series_key' as series_key,
    (body ->> 'slices')::bigint as slices,
    body ->> 'input_sha256' as input_sha256,
    (body ->> 'score')::double as score,
    (body ->> 'threshold')::double as threshold,
    (body ->> 'index_test_positive')::boolean as index_test_positive,
    (body -> 'findings')::varchar[] as findings,
    (body -> 'input_summary')::double[] as input_summary,
    (body -> 'series_verdicts')::varchar[] as series_verdicts
from tail
where kind = 'prediction'
order by seq
