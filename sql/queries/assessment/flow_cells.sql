-- grain: one row an index state and reference state that occurs among eligible studies.
select index_state, reference_state, count(*) as studies
from evaluation_case
where exclusion_reason is null
group by index_state, reference_state
order by index_state, reference_state;
