-- grain: one row an eligible study of the protocol's index window, in index order; times in days and minutes.
-- $window_start, $window_end: the window. $until: the trial's clock.
-- week: whole weeks (Monday, UTC) since the window's first.
-- delay_days: from index to the arrival of the first final report, null while pending.
-- turnaround_days: the same to the time that the report itself gives.
-- first: a patient's first study with, or first without, the target condition (monitored_case.sql).
select
    study_key,
    coalesce(patient_key, study_key) as patient,
    site,
    scanner,
    shift,
    index_state,
    reference_state,
    latest_reference_state,
    not_mentioned,
    score,
    input_summary,
    patient_age_years,
    slice_thickness_mm,
    kvp,
    convolution_kernel,
    date_diff('week', date_trunc('week', $window_start::timestamptz), date_trunc('week', acquired_at)) as week,
    date_diff('second', $window_start::timestamptz, acquired_at) / 86400.0 as index_day,
    date_diff('second', acquired_at, $until::timestamptz) / 86400.0 as age_days,
    if(
        reference_state = 'pending', null, date_diff('second', acquired_at, first_final_at) / 86400.0
    ) as delay_days,
    if(
        reference_state = 'pending', null, date_diff('second', acquired_at, first_final_reported_at) / 86400.0
    ) as turnaround_days,
    date_diff('second', acquired_at, first_reported_at) / 60.0 as reported_after_minutes,
    date_diff('millisecond', machine_closed_at, locked_at) / 60000.0 as locked_after_minutes,
    mentions_model,
    study_key in (select study_key from monitored_case) as first
from evaluation_case
where exclusion_reason is null
    and acquired_at >= $window_start
    and acquired_at < $window_end
order by acquired_at, study_key;
