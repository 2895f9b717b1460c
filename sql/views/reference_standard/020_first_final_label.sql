-- grain: one row an accession, condition and rule whose first final report version has been read.
create view first_final_label as
select
    accession_report.accession_key,
    label.target_condition,
    label.rule,
    label.state
from accession_report
inner join label on label.report_key = accession_report.first_final_report_key
    and label.accession_key = accession_report.accession_key
order by accession_report.accession_key, label.target_condition, label.rule;
