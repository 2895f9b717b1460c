-- grain: one row an accession, condition and rule whose first final report version has been read.
-- latest_state: what the same rule reads in the latest final version; the primary one is `state`. A version that is an
-- addendum alone and says nothing of the condition leaves what the version before it said.
create view first_final_label as
with latest as (
    select
        standing_version.accession_key,
        label.target_condition,
        label.rule,
        arg_max(label.state, standing_version.seq) as state
    from standing_version
    inner join label on label.report_key = standing_version.report_key
        and label.accession_key = standing_version.own_accession_key
    where standing_version.valid
        and not (standing_version.addendum_only and label.state = 'not_mentioned')
    group by standing_version.accession_key, label.target_condition, label.rule
)

select
    accession_report.accession_key,
    label.target_condition,
    label.rule,
    label.state,
    coalesce(latest.state, label.state) as latest_state
from accession_report
inner join label on label.report_key = accession_report.first_final_report_key
    and label.accession_key = accession_report.first_final_accession_key
left join latest on latest.accession_key = accession_report.accession_key
    and latest.target_condition = label.target_condition
    and latest.rule = label.rule
order by accession_report.accession_key, label.target_condition, label.rule;
