-- grain: one row a received study. The one place where predictions and reports meet.
-- $model, $model_sha256: the model assessed. $target_condition, $label_rule: from the protocol.
-- $not_mentioned: what a final report without a mention says (absent | indeterminate), from the protocol.
-- index_state: positive | negative | late | failed | awaiting; null where the study is excluded.
-- reference_state: present | absent | indeterminate | pending; null where the study is excluded.
-- latest_reference_state: the same by the latest final version, null while pending; a sensitivity analysis.
-- not_mentioned: whether the first final report says nothing of the condition, whatever the policy makes of it.
with joined as (
    select
        primary_study.*,
        index_result.locked_seq,
        index_result.locked_at,
        index_result.index_test_positive,
        index_result.score,
        index_result.input_summary,
        index_result.failure_reason,
        study_report.versions,
        primary_study.accession_key in (select accession_report.accession_key from accession_report)
            as accession_has_report,
        study_report.first_version_seq,
        study_report.first_final_seq,
        study_report.latest_status,
        study_report.has_addendum_only,
        study_report.first_final_at,
        study_report.first_reported_at,
        study_report.first_final_reported_at,
        study_report.patient_class,
        coalesce(study_report.mentions_model, false) as mentions_model,
        study_label.state as read_state,
        if(study_label.state = 'not_mentioned', $not_mentioned, study_label.state) as label_state,
        if(
            study_label.latest_state = 'not_mentioned', $not_mentioned, study_label.latest_state
        ) as latest_label_state
    from primary_study
    left join index_result on index_result.study_key = primary_study.study_key
        and index_result.model = $model
        and index_result.model_sha256 = $model_sha256
    left join study_report on study_report.study_key = primary_study.study_key
    left join study_label on study_label.study_key = primary_study.study_key
        and study_label.target_condition = $target_condition
        and study_label.rule = $label_rule
),

stated as (
    select
        *,
        case
            when exclusion_reason is not null then null
            when failure_reason is not null then 'failed'
            when index_test_positive is null then 'awaiting'
            when first_version_seq < locked_seq then 'late'
            when index_test_positive then 'positive'
            else 'negative'
        end as index_state,
        case
            when exclusion_reason is not null then null
            else coalesce(label_state, 'pending')
        end as reference_state
    from joined
)

select
    study_key,
    patient_key,
    site,
    scanner,
    shift,
    acquired_at,
    exclusion_reason,
    index_state,
    reference_state,
    if(reference_state = 'pending', null, latest_label_state) as latest_reference_state,
    coalesce(read_state = 'not_mentioned', false) as not_mentioned,
    failure_reason,
    case
        when reference_state is distinct from 'pending' then null
        when accession_key is null then 'no_accession_number'
        when versions is null and accession_has_report then 'report_out_of_time'
        when versions is null then 'no_report'
        when first_final_seq is not null then 'not_yet_read'
        when latest_status = 'X' then 'cancelled'
        when has_addendum_only then 'addendum_only'
        else 'preliminary_only'
    end as pending_reason,
    later_revisions,
    machine_closed_at,
    locked_at,
    score,
    input_summary,
    first_final_at,
    first_reported_at,
    first_final_reported_at,
    patient_class,
    mentions_model,
    software_versions,
    manufacturer,
    manufacturer_model_name,
    convolution_kernel,
    kvp,
    slice_thickness_mm,
    patient_age_years,
    patient_sex
from stated
order by study_seq;
