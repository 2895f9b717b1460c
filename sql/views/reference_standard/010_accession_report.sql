-- grain: one row an accession with at least one report version. The first final version is the primary one.
-- A report whose accession was corrected counts under the accessions that it stands for now.
-- A version that withdraws the report (X) voids what was final before it: a report on the wrong patient is none.
-- mentions_model: one of the versions mentions the model or another AI, whatever it says about it.
create view accession_report as
with placed as (
    select
        report_version.* exclude (accession_key),
        report_version.accession_key as own_accession_key,
        coalesce(accession_alias.to_key, report_version.accession_key) as accession_key
    from report_version
    left join accession_alias on accession_alias.from_key = report_version.accession_key
),

standing as (
    select
        *,
        final and seq > coalesce(
            max(seq) filter (where result_status = 'X') over (partition by accession_key), 0
        ) as valid
    from placed
)

select
    accession_key,
    min(seq) as first_version_seq,
    min(seq) filter (where valid) as first_final_seq,
    arg_min(report_key, seq) filter (where valid) as first_final_report_key,
    arg_min(own_accession_key, seq) filter (where valid) as first_final_accession_key,
    arg_max(report_key, seq) filter (where valid) as latest_final_report_key,
    arg_max(own_accession_key, seq) filter (where valid) as latest_final_accession_key,
    arg_max(result_status, seq) as latest_status,
    min(received_at) filter (where valid) as first_final_at,
    min(coalesce(reported_at, received_at)) as first_reported_at,
    min(coalesce(reported_at, received_at)) filter (where valid) as first_final_reported_at,
    arg_min(patient_class, seq) as patient_class,
    coalesce(bool_or(mentions_model), false) as mentions_model,
    count(*) as versions
from standing
group by accession_key
order by accession_key;
