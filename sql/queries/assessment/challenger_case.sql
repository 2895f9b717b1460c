-- grain: one row an eligible study of the protocol's index window, in index order, as analysed_case.sql has them.
-- What one challenger said, by the champion's rules: a result locked after the first report version is late.
-- $model, $model_sha256: the challenger. $window_start, $window_end: the window.
select
    evaluation_case.study_key,
    index_result.index_test_positive is not null
    and coalesce(study_report.first_version_seq >= index_result.locked_seq, true) as evaluable,
    coalesce(index_result.index_test_positive, false) as called,
    index_result.score
from evaluation_case
inner join primary_study using (study_key)
left join index_result on index_result.study_key = evaluation_case.study_key
    and index_result.model = $model
    and index_result.model_sha256 = $model_sha256
left join study_report on study_report.study_key = primary_study.study_key
where evaluation_case.exclusion_reason is null
    and evaluation_case.acquired_at >= $window_start
    and evaluation_case.acquired_at < $window_end
order by evaluation_case.acquired_at, evaluation_case.study_key;
