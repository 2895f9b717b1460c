-- grain: one row an event of any kind: the columns that its hash covers, and whether its body is the one digested.
select
    trial,
    seq,
    kind,
    key,
    subject,
    recorded_at,
    body_sha256,
    prev,
    hash,
    coalesce(sha256(body) = body_sha256, false) as body_whole
from tail
order by seq
