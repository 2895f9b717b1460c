-- promise: the protocol was registered before the first study was received.
select study.study_key, study.seq
from study
where study.seq < (select coalesce(min(seq), 9223372036854775807) from trial_protocol)
order by study.seq;
