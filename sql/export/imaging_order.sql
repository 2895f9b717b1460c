-- grain: one row an order message and accession (shadow.store.events.OrderReceived). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'order_key' as order_key,
    body ->> 'site' as site,
    body ->> 'accession_key' as accession_key,
    body ->> 'patient_key' as patient_key,
    body ->> 'state' as state,
    (body ->> 'admitted')::boolean as admitted,
    (body ->> 'planned_at')::timestamptz as planned_at,
    (body ->> 'received_at')::timestamptz as received_at
from tail
where kind = 'imaging_order'
order by seq
