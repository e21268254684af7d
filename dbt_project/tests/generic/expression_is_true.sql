{# What: a condition holds for every row (null counts as held, as in a CHECK constraint).
   When it matters: a rule that one model must keep but that its engine cannot declare.
   How to resolve: the test returns the rows that break the condition. #}
{% test expression_is_true(model, expression) %}
select *
from {{ model }}
where not ({{ expression }})
{% endtest %}
