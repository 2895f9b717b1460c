-- grain: one row an eligible study of the index window whose report is final and whose index result is settled.
-- $target_condition, $window_start, $window_end: from the protocol.
select
    evaluation_case.study_key,
    if(
        evaluation_case.index_state in ('positive', 'negative'), evaluation_case.index_state, 'none'
    ) as index_test,
    evaluation_case.reference_state as report,
    evaluation_case.shift,
    evaluation_case.first_final_at,
    adjudicated_study.first_answer,
    adjudicated_study.second_answer,
    adjudicated_study.answer
from evaluation_case
left join adjudicated_study on adjudicated_study.study_key = evaluation_case.study_key
    and adjudicated_study.target_condition = $target_condition
where evaluation_case.exclusion_reason is null
    and evaluation_case.index_state <> 'awaiting'
    and evaluation_case.reference_state <> 'pending'
    and evaluation_case.acquired_at >= $window_start
    and evaluation_case.acquired_at < $window_end
order by evaluation_case.study_key;
