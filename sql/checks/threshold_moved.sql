-- promise: a model's threshold never moves, and its call is its score at that threshold.
with thresholds as (
    select model, model_sha256, min(threshold) as lowest, max(threshold) as highest
    from prediction
    group by model, model_sha256
)

select prediction.study_key, prediction.seq
from prediction
inner join thresholds using (model, model_sha256)
where thresholds.lowest <> thresholds.highest
    or prediction.index_test_positive <> (prediction.score >= prediction.threshold)
order by prediction.seq;
