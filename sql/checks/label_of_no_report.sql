-- promise: a label was read in a report version that was received before it.
select label.report_key, label.seq
from label
left join report_version using (report_key, accession_key)
where report_version.seq is null or report_version.seq > label.seq
order by label.seq;
