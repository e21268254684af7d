{# PostgreSQL's information_schema calls every list 'ARRAY', and dbt casts the rows of a unit test to that name.
   The lists of this project hold load ids, so that is what the cast says. #}
{% macro postgres__safe_cast(field, type) -%}
    {%- if type | upper == 'ARRAY' -%}
        cast({{ field }} as bigint[])
    {%- else -%}
        cast({{ field }} as {{ type }})
    {%- endif -%}
{%- endmacro %}
