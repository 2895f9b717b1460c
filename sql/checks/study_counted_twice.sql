-- promise: the case table has one row a study.
select study_key, count(*) as occurrences
from evaluation_case
group by study_key
having count(*) > 1
order by study_key;
