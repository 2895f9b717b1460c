-- grain: one row a report version and accession that it stands for now.
-- A report whose accession was corrected counts under the accessions that it stands for now.
-- valid: final, and not withdrawn since. A version that withdraws the report (X) voids what was final before it: a
-- report on the wrong patient is none.
create view standing_version as
with placed as (
    select
        report_version.* exclude (accession_key),
        report_version.accession_key as own_accession_key,
        coalesce(accession_alias.to_key, report_version.accession_key) as accession_key
    from report_version
    left join accession_alias on accession_alias.from_key = report_version.accession_key
)

select
    *,
    final and seq > coalesce(
        max(seq) filter (where result_status = 'X') over (partition by accession_key), 0
    ) as valid
from placed
order by seq;
