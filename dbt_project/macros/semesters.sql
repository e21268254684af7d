{# Semesters in one line: spring of a year, autumn of it, spring of the next. Null where the year is. #}
{% macro semester_order(calendar_year, term) -%}
({{ calendar_year }} * 2 + case when {{ term }} = 'autumn' then 1 else 0 end)
{%- endmacro %}

{# Yuan as whole fen: figures of indicators are whole numbers. #}
{% macro fen(yuan) -%}
cast(round({{ yuan }} * 100, 0) as numeric(38, 0))
{%- endmacro %}
