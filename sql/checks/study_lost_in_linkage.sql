-- promise: no received study is missing from the case table.
select study.study_key
from study
left join evaluation_case using (study_key)
where study.revision = 1 and evaluation_case.study_key is null
order by study.study_key;
