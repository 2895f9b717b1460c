-- grain: one row an accession with a report and without a study that it can be about, and each study that may be meant.
-- A candidate is a study of the same patient within three days of the report whose own accession has no report.
with unmatched as (
    select accession_report.*, own.site, own.patient_key
    from accession_report
    inner join (
        select
            coalesce(accession_alias.to_key, report_version.accession_key) as accession_key,
            min(report_version.site) as site,
            min(coalesce(patient_alias.to_key, report_version.patient_key)) as patient_key
        from report_version
        left join accession_alias on accession_alias.from_key = report_version.accession_key
        left join patient_alias on patient_alias.from_key = report_version.patient_key
        group by 1
    ) as own using (accession_key)
    where accession_report.accession_key not in (select linked_version.accession_key from linked_version)
),

open_study as (
    select primary_study.*
    from primary_study
    where primary_study.exclusion_reason is null
        and primary_study.accession_key is not null
        and primary_study.study_key not in (select linked_version.study_key from linked_version)
)

select
    unmatched.site,
    unmatched.accession_key as report_accession,
    unmatched.versions,
    unmatched.latest_status,
    unmatched.first_reported_at,
    open_study.accession_key as study_accession,
    open_study.scanner,
    open_study.acquired_at
from unmatched
left join open_study on open_study.patient_key = unmatched.patient_key
    and open_study.site = unmatched.site
    and abs(date_diff('hour', open_study.acquired_at, unmatched.first_reported_at)) <= 72
order by unmatched.first_reported_at, unmatched.accession_key, open_study.acquired_at;
