-- grain: one row an alarm of this stream, the oldest first. $stream: shadow.assessment.monitors.stream_of.
select
    dimension,
    site,
    scanner,
    shift,
    week,
    reason
from alarm
where stream = $stream
order by seq;
