-- grain: one row an archive_study event (shadow.store.events.ArchiveStudyListed). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'study_key' as study_key,
    body ->> 'accession_key' as accession_key,
    body ->> 'site' as site,
    body ->> 'scanner' as scanner,
    body ->> 'shift' as shift,
    (body ->> 'acquired_at')::timestamptz as acquired_at,
    (body ->> 'listed_at')::timestamptz as listed_at,
    (body ->> 'received')::boolean as received,
    (body ->> 'instances_listed')::bigint as instances_listed,
    (body ->> 'instances_received')::bigint as instances_received
from tail
where kind = 'archive_study'
order by seq
