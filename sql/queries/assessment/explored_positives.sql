-- grain: one row a monitored case with the target condition (monitored_case.sql).
select
    site,
    scanner,
    shift,
    index_state <> 'positive' as missed,
    manufacturer,
    manufacturer_model_name,
    convolution_kernel,
    kvp,
    slice_thickness_mm,
    patient_age_years::double as patient_age_years,
    patient_sex,
    software_versions,
    patient_class
from monitored_case
where reference_state = 'present'
order by study_key;
