-- grain: one row a condition and pair of readers of the same first final reports, with their two by two table.
-- Pairs: a rule's reading of the text and the second labeller's; a rule's reading of the text and the coded finding.
-- both, first_only, second_only, neither: reports in which they read the condition as present; all else is not present.
with final_label as (
    select label.*
    from accession_report
    inner join label on label.report_key = accession_report.first_final_report_key
        and label.accession_key = accession_report.first_final_accession_key
),

pair as (
    select
        ruled.target_condition,
        ruled.rule as first_reader,
        second.rule as second_reader,
        ruled.text_state = 'present' as first_present,
        second.state = 'present' as second_present
    from final_label as ruled
    inner join final_label as second using (report_key, accession_key, target_condition)
    where ruled.rule not like 'second:%' and second.rule like 'second:%'
    union all
    select
        target_condition,
        rule as first_reader,
        'coded finding' as second_reader,
        text_state = 'present' as first_present,
        code_state = 'present' as second_present
    from final_label
    where code_state is not null
)

select
    target_condition,
    first_reader,
    second_reader,
    count(*) filter (where first_present and second_present) as both,
    count(*) filter (where first_present and not second_present) as first_only,
    count(*) filter (where not first_present and second_present) as second_only,
    count(*) filter (where not first_present and not second_present) as neither
from pair
group by target_condition, first_reader, second_reader
order by target_condition, first_reader, second_reader;
