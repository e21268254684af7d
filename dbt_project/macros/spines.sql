{# Rows 1 to n as column "part". A literal spine: every engine's own series function is different. #}
{% macro parts_to(last) -%}
{%- for part in range(1, last + 1) %}
select {{ part }} as part
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
{%- endmacro %}
