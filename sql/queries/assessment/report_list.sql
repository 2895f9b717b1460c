-- grain: one row an accession with a report: where it went, and why it counts nowhere if it does not.
select
    accession_report.accession_key,
    accession_report.versions,
    accession_report.first_final_seq is not null as final,
    case
        when evaluation_study.study_key is null then 'unmatched'
        when evaluation_study.exclusion_reason is not null then 'study_excluded'
        when evaluation_study.study_key not in (select linked_version.study_key from linked_version) then 'out_of_time'
        when accession_report.first_final_seq is null then 'waiting_for_final'
        else 'linked'
    end as state,
    evaluation_study.study_key,
    evaluation_study.exclusion_reason
from accession_report
left join primary_study as evaluation_study using (accession_key)
order by accession_report.accession_key, evaluation_study.study_key;
