-- promise: a report that was withdrawn is no reference, and an addendum alone is none.
select study_report.study_key
from study_report
inner join linked_version as first_final on first_final.seq = study_report.first_final_seq
    and first_final.study_key = study_report.study_key
left join linked_version as withdrawal on withdrawal.study_key = study_report.study_key
    and withdrawal.result_status = 'X'
    and withdrawal.seq > first_final.seq
where first_final.addendum_only or withdrawal.seq is not null
order by study_report.study_key;
