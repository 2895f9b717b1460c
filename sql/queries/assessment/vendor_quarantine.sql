-- grain: one row a reason for which results of vendors' products could not be read.
select detail as reason, count(*) as occurrences
from audit
where action = 'vendor_result_quarantined'
group by detail
order by occurrences desc, reason;
