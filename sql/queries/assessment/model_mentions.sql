-- grain: one row an eligible study with a report that mentions the model or another AI: surrogate key and states.
select
    study_key,
    site,
    acquired_at,
    index_state,
    reference_state
from evaluation_case
where mentions_model and exclusion_reason is null
order by acquired_at, study_key;
