-- grain: one row a label event (shadow.store.events.LabelRead). Body schemas handled: 1.
select
    seq,
    tail.recorded_at::timestamptz as recorded_at,
    body ->> 'report_key' as report_key,
    body ->> 'accession_key' as accession_key,
    body ->> 'target_condition' as target_condition,
    body ->> 'state' as state,
    body ->> 'rule' as rule,
    body ->> 'spans' as spans,
    coalesce(body ->> 'source', 'text') as source, -- bodies before coded findings were read have none of these
    coalesce(body ->> 'text_state', body ->> 'state') as text_state,
    body ->> 'code_state' as code_state
from tail
where kind = 'label'
order by seq
