-- grain: one row a study and model that has an answer or a counted failure (revision 1).
create view index_result as
with answered as (
    select
        study_key, model, model_sha256, seq as locked_seq, recorded_at as locked_at,
        index_test_positive, score, input_summary, null::varchar as failure_reason
    from prediction
    where revision = 1
),

failed as (
    select
        study_key, model, model_sha256, seq as locked_seq, recorded_at as locked_at,
        null::boolean as index_test_positive, null::double as score, null::double[] as input_summary,
        reason as failure_reason
    from prediction_failure
    where revision = 1
)

select * from answered
union all by name
select * from failed
union all by name
select * from vendor_answer
order by locked_seq;
