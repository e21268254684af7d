{# What: no two rows share the values of these columns (null equals null).
   When it matters: the grain of the model; a double row is counted twice in every sum.
   How to resolve: look for one thing delivered twice (two files, two counties) or a join that multiplies. #}
{% test unique_combination(model, columns) %}
select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
