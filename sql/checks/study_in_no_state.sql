-- promise: every received study is excluded with a reason, or has exactly one index and one reference state.
select study_key
from evaluation_case
where (exclusion_reason is null and (index_state is null or reference_state is null))
    or (exclusion_reason is not null and (index_state is not null or reference_state is not null))
    or (index_state = 'failed' and failure_reason is null)
    or (reference_state = 'pending' and pending_reason is null)
order by study_key;
