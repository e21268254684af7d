{# What may be shown of the smallest cells of a mart that is protected by rounding: one row per cell, its columns (text)
   and one column per rounded part. A mart reads counts of persons from here only, and adds up, divides and compares
   nothing else. How a mart declares its cells: docs/disclosure.md. #}
{% macro rounded_counts(mart, cell_columns, parts) -%}
select
    {%- for column in cell_columns %}
    {{ name_part('cell', loop.index) }} as {{ column }},
    {%- endfor %}
    {%- for part in parts %}
    max(case when part = '{{ part }}' then persons end) as {{ part }}{{ "," if not loop.last }}
    {%- endfor %}
from {{ source('disclosure', 'rounded') }}
where mart = '{{ mart }}'
group by cell
{%- endmacro %}
