-- grain: one row a study event (shadow.store.events.StudyClosed). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'study_key' as study_key,
    (body ->> 'revision')::bigint as revision,
    (body ->> 'supersedes')::bigint as supersedes,
    body ->> 'patient_key' as patient_key,
    body ->> 'accession_key' as accession_key,
    body ->> 'site' as site,
    body ->> 'scanner' as scanner,
    body ->> 'shift' as shift,
    (body ->> 'acquired_at')::timestamptz as acquired_at,
    (body ->> 'first_received_at')::timestamptz as first_received_at,
    (body ->> 'closed_at')::timestamptz as closed_at,
    (body ->> 'machine_closed_at')::timestamptz as machine_closed_at,
    (body ->> 'instance_count')::bigint as instance_count,
    body ->> 'manifest_sha256' as manifest_sha256,
    body ->> 'manufacturer' as manufacturer,
    body ->> 'manufacturer_model_name' as manufacturer_model_name,
    body ->> 'convolution_kernel' as convolution_kernel,
    (body ->> 'kvp')::double as kvp,
    (body ->> 'slice_thickness_mm')::double as slice_thickness_mm,
    (body ->> 'patient_age_years')::bigint as patient_age_years,
    body ->> 'patient_sex' as patient_sex,
    body ->> 'software_versions' as software_versions
from tail
where kind = 'study'
order by seq
