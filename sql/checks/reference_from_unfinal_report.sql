-- promise: the reference standard comes from a final report.
select study_report.study_key
from study_report
inner join report_version on report_version.report_key = study_report.first_final_report_key
    and report_version.accession_key = study_report.first_final_accession_key
where not report_version.final or report_version.result_status not in ('F', 'C')
order by study_report.study_key;
