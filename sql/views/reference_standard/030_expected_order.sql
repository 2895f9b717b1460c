-- grain: one row an accession that was ordered with words that the protocol admits, by its newest order message.
create view expected_order as
with placed as (
    select
        imaging_order.* exclude (accession_key),
        coalesce(accession_alias.to_key, imaging_order.accession_key) as accession_key
    from imaging_order
    left join accession_alias on accession_alias.from_key = imaging_order.accession_key
)

select
    accession_key,
    arg_max(state, seq) as state,
    coalesce(arg_max(planned_at, seq), min(received_at)) as expected_at
from placed
where admitted
group by accession_key
order by accession_key;
