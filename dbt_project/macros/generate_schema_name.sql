{# The schema names are exactly those of the warehouse: no prefix with the target schema.
   The marts go to the candidate schema of this run. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if custom_schema_name is none -%}
        {{ target.schema }}
    {%- elif custom_schema_name | trim == 'candidate' -%}
        {{ var('candidate_schema') }}
    {%- else -%}
        {{ custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}
