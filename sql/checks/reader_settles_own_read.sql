-- promise: nobody reads a study twice, and nobody settles a study that they read.
select study_key, target_condition, reader
from adjudication
group by study_key, target_condition, reader
having count(*) > 1
order by study_key, target_condition, reader;
