-- grain: one row a box of the flow and a reason in it.
with boxed as (
    select 'excluded' as box, exclusion_reason as reason
    from evaluation_case
    where exclusion_reason is not null
    union all
    select 'failed', failure_reason
    from evaluation_case
    where index_state = 'failed'
    union all
    select 'pending', pending_reason
    from evaluation_case
    where reference_state = 'pending'
    union all
    select 'message_quarantined', detail
    from audit
    where action = 'message_quarantined'
        and object not in (select replayed.object from audit as replayed where replayed.action = 'message_replayed')
    union all
    select 'instance_quarantined', detail
    from (
        -- what admission cannot read is in each of its study's revisions
        select distinct object, detail
        from audit
        where action in ('instance_quarantined', 'instance_unreadable')
    )
    union all
    select 'message_not_used', detail
    from audit
    where action = 'message_not_used'
    union all
    select 'link_corrected', link.source
    from standing_link
    inner join link using (seq)
)

select box, reason, count(*) as occurrences
from boxed
group by box, reason
order by box, occurrences desc, reason;
