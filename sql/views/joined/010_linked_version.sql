-- grain: one row a study and report version that is about it: the same accession, and a time that can be.
-- linkage_rule holds the protocol's bounds. Accession numbers come round again; a report of last year is not this
-- year's. A version or a study without a time is not refused for it.
create view linked_version as
select
    primary_study.study_key,
    standing_version.*
from primary_study
inner join standing_version using (accession_key)
cross join linkage_rule
where primary_study.acquired_at is null
    or coalesce(standing_version.reported_at, standing_version.received_at) between
        primary_study.acquired_at - to_seconds(86400 * linkage_rule.days_before)
        and primary_study.acquired_at + to_seconds(86400 * linkage_rule.days_after)
order by primary_study.study_key, standing_version.seq;
