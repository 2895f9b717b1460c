-- grain: one row an accession with at least one report version, whether or not a study of it came.
create view accession_report as
select
    accession_key,
    min(seq) filter (where valid and not addendum_only) as first_final_seq,
    arg_min(report_key, seq) filter (where valid and not addendum_only) as first_final_report_key,
    arg_min(own_accession_key, seq) filter (where valid and not addendum_only) as first_final_accession_key,
    arg_max(result_status, seq) as latest_status,
    min(coalesce(reported_at, received_at)) as first_reported_at,
    count(*) as versions
from standing_version
group by accession_key
order by accession_key;
