{# After a table is built, tell the engine how it is filled: without statistics PostgreSQL joins a fresh table row by
   row. Engines that keep no such statistics get an empty statement. #}
{% macro update_statistics(relation) -%}
    {{ return(adapter.dispatch('update_statistics', 'edupa')(relation)) }}
{%- endmacro %}

{% macro default__update_statistics(relation) -%}
{%- endmacro %}

{% macro postgres__update_statistics(relation) -%}
    analyze {{ relation }}
{%- endmacro %}
