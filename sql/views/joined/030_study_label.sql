-- grain: one row a study, condition and rule whose first final report version has been read.
-- latest_state: what the same rule reads in the latest final version; the primary one is `state`. A version that is an
-- addendum alone and says nothing of the condition leaves what the version before it said.
create view study_label as
with latest as (
    select
        linked_version.study_key,
        label.target_condition,
        label.rule,
        arg_max(label.state, linked_version.seq) as state
    from linked_version
    inner join label on label.report_key = linked_version.report_key
        and label.accession_key = linked_version.own_accession_key
    where linked_version.valid
        and not (linked_version.addendum_only and label.state = 'not_mentioned')
    group by linked_version.study_key, label.target_condition, label.rule
)

select
    study_report.study_key,
    label.target_condition,
    label.rule,
    label.state,
    coalesce(latest.state, label.state) as latest_state
from study_report
inner join label on label.report_key = study_report.first_final_report_key
    and label.accession_key = study_report.first_final_accession_key
left join latest on latest.study_key = study_report.study_key
    and latest.target_condition = label.target_condition
    and latest.rule = label.rule
order by study_report.study_key, label.target_condition, label.rule;
