-- grain: one row an accession, condition and rule whose first final report version has been read.
-- latest_state: what the same rule reads in the latest final version; the primary one is `state`.
create view first_final_label as
select
    accession_report.accession_key,
    label.target_condition,
    label.rule,
    label.state,
    latest.state as latest_state
from accession_report
inner join label on label.report_key = accession_report.first_final_report_key
    and label.accession_key = accession_report.first_final_accession_key
left join label as latest on latest.report_key = accession_report.latest_final_report_key
    and latest.accession_key = accession_report.latest_final_accession_key
    and latest.target_condition = label.target_condition
    and latest.rule = label.rule
order by accession_report.accession_key, label.target_condition, label.rule;
