-- promise: a study is read blind only after its report is final and a result for it is locked.
select adjudication.study_key, adjudication.seq
from adjudication
left join study_report using (study_key)
left join index_result on index_result.study_key = adjudication.study_key
    and index_result.locked_seq < adjudication.seq
where study_report.first_final_seq is null
    or study_report.first_final_seq > adjudication.seq
    or index_result.study_key is null
order by adjudication.seq;
