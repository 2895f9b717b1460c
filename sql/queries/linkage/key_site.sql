-- grain: one row a key of a patient or an accession ($one or $other) that is on record: the site that it came from.
select key, min(site) as site
from (
    select accession_key as key, site from study
    union all
    select patient_key as key, site from study
    union all
    select accession_key as key, site from report_version
    union all
    select patient_key as key, site from report_version
) as known
where key in ($one, $other)
group by key
order by key;
