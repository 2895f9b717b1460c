-- promise: a report that was withdrawn is no reference, and an addendum alone is none.
select accession_report.accession_key
from accession_report
inner join standing_version as first_final on first_final.seq = accession_report.first_final_seq
    and first_final.accession_key = accession_report.accession_key
left join standing_version as withdrawal on withdrawal.accession_key = accession_report.accession_key
    and withdrawal.result_status = 'X'
    and withdrawal.seq > first_final.seq
where first_final.addendum_only or withdrawal.seq is not null
order by accession_report.accession_key;
