-- grain: one row an action: how often an archive was asked, or was to be asked and did not answer.
select
    action,
    count(*) as entries
from audit
where action in ('archive_asked', 'archive_silent')
group by action
order by action;
