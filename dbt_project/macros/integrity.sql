{# A threshold of an integrity rule, from its seed; a test refuses names that the seed does not have. #}
{% macro threshold(rule_code, threshold_code) -%}
(
    select threshold_value from {{ ref('integrity_thresholds') }}
    where rule_code = '{{ rule_code }}' and threshold_code = '{{ threshold_code }}'
)
{%- endmacro %}

{# A value as text, for keys, evidence and descriptions. #}
{% macro as_text(expression) -%}
cast({{ expression }} as {{ dbt.type_string() }})
{%- endmacro %}

{# The values of a case under one text, so that a changed value changes the code made from it; null reads '~'. #}
{% macro evidence(parts) -%}
{% for part in parts %}coalesce(cast({{ part }} as {{ dbt.type_string() }}), '~'){% if not loop.last %} || '|' || {% endif %}{% endfor %}
{%- endmacro %}
