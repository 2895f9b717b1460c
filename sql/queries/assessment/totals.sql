-- grain: one row. What came in, and what of the reports found its study.
with received as (
    select
        count(*) as received,
        count(*) filter (where exclusion_reason is null) as eligible,
        count(*) filter (where later_revisions > 0) as late_revisions
    from evaluation_case
),

reports as (
    select
        count(*) filter (where accession_key in (select linked_version.accession_key from linked_version)) as linked,
        count(*) filter (where accession_key not in (select linked_version.accession_key from linked_version))
            as unmatched
    from accession_report
),

versions as (select count(*) as report_versions from report_version)

select received, eligible, late_revisions, report_versions, linked, unmatched
from received
cross join reports
cross join versions
order by received;
