-- grain: one row an event of any kind: the columns that its hash covers.
select
    trial,
    seq,
    kind,
    key,
    subject,
    recorded_at,
    body_sha256,
    prev,
    hash
from tail
order by seq
