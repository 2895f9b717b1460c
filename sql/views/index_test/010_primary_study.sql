-- grain: one row a study, by its revision 1 (what the model would have had). Later revisions are only counted.
-- patient_key: under which the patient is known now; merges of patients (ADT^A40) move it.
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
    coalesce(patient_alias.to_key, study.patient_key) as patient_key,
    study.accession_key,
    study.site,
    study.scanner,                  -- by station_name (0008,1010) and the site file
    study.shift,
    study.acquired_at,
    study.manufacturer,             -- (0008,0070)
    study.manufacturer_model_name,  -- (0008,1090)
    study.convolution_kernel,       -- (0018,1210)
    study.kvp,                      -- (0018,0060)
    study.slice_thickness_mm,       -- slice_thickness (0018,0050)
    study.patient_age_years,        -- patient_age (0010,1010)
    study.patient_sex,              -- (0010,0040)
    study.software_versions,        -- (0018,1020)
    study.machine_closed_at,
    exclusion.reason as exclusion_reason,
    coalesce(later.later_revisions, 0) as later_revisions
from study
left join exclusion using (study_key, revision)
left join later using (study_key)
left join patient_alias on patient_alias.from_key = study.patient_key
where study.revision = 1
order by study.seq;
