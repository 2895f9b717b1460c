-- grain: one row a study and vendor's product that sent a result: the first result is the one that counts.
-- A result names its study, or its accession: then it belongs to every study of that accession.
create view vendor_answer as
with named as (
    select primary_study.study_key, vendor_result.* exclude (study_key)
    from vendor_result
    inner join primary_study using (study_key)
    union all by name
    select primary_study.study_key, vendor_result.* exclude (study_key)
    from vendor_result
    left join accession_alias on accession_alias.from_key = vendor_result.accession_key
    inner join primary_study
        on primary_study.accession_key = coalesce(accession_alias.to_key, vendor_result.accession_key)
    where vendor_result.study_key is null
)

select
    study_key, model, model_sha256, seq as locked_seq, recorded_at as locked_at,
    index_test_positive, score, null::double[] as input_summary, failure_reason
from named
qualify row_number() over (partition by study_key, model, model_sha256 order by seq) = 1
order by locked_seq;
