-- grain: one row a correction that stands: the newest word on each pair of keys, where it is not taken back.
create view standing_link as
select what, from_key, to_key, seq
from link
qualify row_number() over (partition by what, from_key, to_key order by seq desc) = 1 and active
order by seq;
