-- grain: one row a study with a linked report version. The first valid final version is the primary one; an addendum
-- alone is not: what it adds to has to come.
-- mentions_model: one of the versions mentions the model or another AI, whatever it says about it.
create view study_report as
select
    study_key,
    min(seq) as first_version_seq,
    min(seq) filter (where valid and not addendum_only) as first_final_seq,
    arg_min(report_key, seq) filter (where valid and not addendum_only) as first_final_report_key,
    arg_min(own_accession_key, seq) filter (where valid and not addendum_only) as first_final_accession_key,
    arg_max(result_status, seq) as latest_status,
    min(received_at) filter (where valid and not addendum_only) as first_final_at,
    min(coalesce(reported_at, received_at)) as first_reported_at,
    min(coalesce(reported_at, received_at)) filter (where valid and not addendum_only) as first_final_reported_at,
    arg_min(patient_class, seq) as patient_class,
    coalesce(bool_or(mentions_model), false) as mentions_model,
    coalesce(bool_or(valid and addendum_only), false) as has_addendum_only,
    count(*) as versions
from linked_version
group by study_key
order by study_key;
