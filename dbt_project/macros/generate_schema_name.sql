{# The schema names are exactly those of the warehouse: no prefix with the target schema.
   The marts go to the candidate schema of this run. An old release is built again beside everything, below
   var('schema_prefix'). #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if custom_schema_name is none -%}
        {{ var('schema_prefix', '') }}{{ target.schema }}
    {%- elif custom_schema_name | trim == 'candidate' -%}
        {{ var('candidate_schema') }}
    {%- else -%}
        {{ var('schema_prefix', '') }}{{ custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}
