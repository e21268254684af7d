{# Ratio of two whole numbers, ten decimals. An empty or missing denominator gives null, never 0 or 1.
   The cast stands before the division: whole numbers divide differently on every engine. #}
{% macro ratio(numerator, denominator) -%}
cast(cast({{ numerator }} as numeric(38, 10)) / nullif({{ denominator }}, 0) as numeric(20, 10))
{%- endmacro %}

{# Pooled total over the rows that carry figures: null as soon as one of them is not known, so that eight of nine
   never pass for nine. #}
{% macro pooled(measure, is_figure) -%}
cast(case when sum({{ is_figure }}) = count({{ measure }}) then sum({{ measure }}) end as numeric(38, 0))
{%- endmacro %}

{# Why an indicator has no value: null | not_measurable (a source is missing) | zero_denominator. #}
{% macro value_reason(measure_type, numerator, denominator) -%}
case
    when {{ measure_type }} = 'ratio' and {{ denominator }} = 0 then 'zero_denominator'
    when {{ numerator }} is null then 'not_measurable'
    when {{ measure_type }} = 'ratio' and {{ denominator }} is null then 'not_measurable'
end
{%- endmacro %}
