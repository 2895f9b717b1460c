-- grain: one row. Orders that the protocol admits, older than a day at $until, and those whose study never came.
select
    count(*) as orders,
    count(*) filter (where primary_study.study_key is null) as without_study
from (
    select accession_key
    from expected_order
    where state <> 'cancelled' and expected_at < $until::timestamptz - interval 1 day
) as due
left join (select min(study_key) as study_key, accession_key from primary_study group by accession_key) as primary_study
    using (accession_key)
order by orders;
