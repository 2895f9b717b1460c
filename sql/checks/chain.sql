-- promise: the hash chain is whole: no event was changed, removed or put in between.
with followed as (
    select
        *,
        lag(hash) over (partition by trial order by seq) as hash_before,
        lag(seq) over (partition by trial order by seq) as seq_before
    from chain
)

select trial, seq
from followed
where
    hash <> sha256(
        concat_ws(
            chr(10), 'st1', trial, seq::varchar, kind, key, subject, recorded_at, body_sha256, prev
        )
    )
    or not body_whole
    or prev <> coalesce(hash_before, sha256('st1' || chr(10) || trial))
    or seq <> coalesce(seq_before, 0) + 1
order by trial, seq;
