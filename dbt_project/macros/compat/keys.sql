{# Surrogate key: 32 hex characters of the MD5 of the parts, joined by '|'; a missing part reads '~'.
   Keys are made from text, integers and dates only, so that every engine makes the same ones. #}
{% macro surrogate_key(parts) -%}
    {{ return(adapter.dispatch('surrogate_key', 'edupa')(parts)) }}
{%- endmacro %}

{% macro default__surrogate_key(parts) -%}
md5({% for part in parts %}coalesce(cast({{ part }} as {{ dbt.type_string() }}), '~'){% if not loop.last %} || '|' || {% endif %}{% endfor %})
{%- endmacro %}

{# The member of every dimension that stands for "not known". #}
{% macro unknown_key() -%}
'-1'
{%- endmacro %}
