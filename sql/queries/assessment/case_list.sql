-- grain: one row a received study, as pages list it: surrogate keys and states, no identifier, no score.
select
    study_key,
    site,
    scanner,
    shift,
    acquired_at,
    index_state,
    reference_state,
    exclusion_reason,
    failure_reason,
    pending_reason
from evaluation_case
order by study_key;
