-- promise: a model says one thing about a study revision: an answer or a counted failure, never both.
select prediction.study_key, prediction.revision, prediction.model
from prediction
inner join prediction_failure using (study_key, revision, model, model_sha256)
order by prediction.study_key, prediction.model;
