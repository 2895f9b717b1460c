-- grain: one row a patient with the target condition: the first such study, as the monitors count it.
-- $window_start, $window_end: the protocol's index window.
with present as (
    select
        *,
        row_number() over (
            partition by coalesce(patient_key, study_key)
            order by acquired_at, study_key
        ) as nth_of_patient
    from evaluation_case
    where exclusion_reason is null
        and reference_state = 'present'
        and acquired_at >= $window_start
        and acquired_at < $window_end
)

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
    patient_sex
from present
where nth_of_patient = 1
order by study_key;
