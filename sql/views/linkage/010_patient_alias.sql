-- grain: one row a merged patient key: the key under which the patient is known now, by the newest merges.
create view patient_alias as
with recursive newest as (
    select from_key, to_key
    from standing_link
    where what = 'patient'
    qualify row_number() over (partition by from_key order by seq desc) = 1
),

followed as (
    select from_key, to_key, 1 as steps from newest
    union all
    select followed.from_key, newest.to_key, followed.steps + 1
    from followed
    inner join newest on newest.from_key = followed.to_key
    where followed.steps < 16 and newest.to_key <> followed.from_key
)

select from_key, arg_max(to_key, steps) as to_key
from followed
group by from_key
order by from_key;
