-- grain: one row a study that an archive listed: where it was acquired, and whether it reached us.
-- Site, scanner and shift are those of the study that is here, else what the archive said: two archives may list it.
create view listed_study as
select
    archive_study.study_key,
    coalesce(primary_study.site, archive_study.site) as site,
    coalesce(primary_study.scanner, archive_study.scanner) as scanner,
    coalesce(primary_study.shift, archive_study.shift) as shift,
    archive_study.acquired_at,
    archive_study.received as in_time,
    primary_study.study_key is not null as here_now,
    archive_study.received
    and coalesce(archive_study.instances_received < archive_study.instances_listed, false) as short_of_instances
from archive_study
left join primary_study using (study_key)
order by archive_study.seq;
