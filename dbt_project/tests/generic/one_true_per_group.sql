{# What: in every group exactly one row has the flag.
   When it matters: a person with two primary rolls counts twice, one without any is lost.
   How to resolve: look at the rule that sets the flag for the group that the test returns. #}
{% test one_true_per_group(model, columns, flag) %}
select
    {{ columns | join(', ') }},
    sum(case when {{ flag }} then 1 else 0 end) as flagged_count
from {{ model }}
group by {{ columns | join(', ') }}
having sum(case when {{ flag }} then 1 else 0 end) <> 1
{% endtest %}
