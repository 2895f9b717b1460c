-- grain: one row a study, by its revision 1 (what the model would have had). Later revisions are only counted.
create view primary_study as
with later as (
    select study_key, count(*) as later_revisions
    from study
    where revision > 1
    group by study_key
)
select
    study.study_key,
    study.seq as study_seq,
    study.patient_key,
    study.accession_key,
    study.site,
    study.scanner,                  -- by station_name (0008,1010) and the site file
    study.shift,
    study.acquired_at,
    study.machine_closed_at,
    exclusion.reason as exclusion_reason,
    coalesce(later.later_revisions, 0) as later_revisions
from study
left join exclusion using (study_key, revision)
left join later using (study_key)
where study.revision = 1
order by study.seq;
