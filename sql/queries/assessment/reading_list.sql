-- grain: one row a study that may be read blind now, in the order of reading. Its key and nothing else.
select study_key
from drawn_study
where ready
order by place;
