-- grain: one row a corrected accession key and an accession that it stands for now; it may stand for several.
create view accession_alias as
with recursive pairs as (
    select from_key, to_key from standing_link where what = 'accession'
),

followed as (
    select from_key, to_key, 1 as steps from pairs
    union all
    select followed.from_key, pairs.to_key, followed.steps + 1
    from followed
    inner join pairs on pairs.from_key = followed.to_key
    where followed.steps < 16 and pairs.to_key <> followed.from_key and pairs.to_key <> followed.to_key
)

select distinct from_key, to_key
from followed
where to_key not in (select pairs.from_key from pairs where pairs.from_key <> pairs.to_key)
order by from_key, to_key;
