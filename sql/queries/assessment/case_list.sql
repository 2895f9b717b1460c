-- grain: one row a received study, as pages list it: surrogate keys and states, no identifier, no score.
-- withheld: drawn for blinded reading and not settled, so no page may list what model and report say of it.
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
    pending_reason,
    coalesce(study_key in (select drawn_study.study_key from drawn_study where drawn_study.open), false) as withheld
from evaluation_case
order by study_key;
