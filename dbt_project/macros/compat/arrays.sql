{# Lists of load ids: sorted, distinct, never null. #}

{# aggregate: the sorted distinct values of an expression; an empty list when there are none #}
{% macro sorted_list(expression) -%}
    {{ return(adapter.dispatch('sorted_list', 'edupa')(expression)) }}
{%- endmacro %}

{% macro default__sorted_list(expression) -%}
coalesce(array_agg(distinct {{ expression }} order by {{ expression }}) filter (where {{ expression }} is not null), {{ empty_list() }})
{%- endmacro %}

{# the empty list #}
{% macro empty_list() -%}
    {{ return(adapter.dispatch('empty_list', 'edupa')()) }}
{%- endmacro %}

{% macro default__empty_list() -%}
cast('{}' as bigint[])
{%- endmacro %}

{# scalar: the list of one load; empty when it is not known #}
{% macro one_load(load_id) -%}
    {{ return(adapter.dispatch('one_load', 'edupa')(load_id)) }}
{%- endmacro %}

{% macro default__one_load(load_id) -%}
array_remove(array[cast({{ load_id }} as bigint)], null)
{%- endmacro %}

{# scalar: two lists as one sorted distinct list; a missing list counts as empty #}
{% macro merged_list(left_list, right_list) -%}
    {{ return(adapter.dispatch('merged_list', 'edupa')(left_list, right_list)) }}
{%- endmacro %}

{% macro default__merged_list(left_list, right_list) -%}
coalesce((select array_agg(distinct item order by item) from unnest({{ left_list }} || {{ right_list }}) as merged (item)), {{ empty_list() }})
{%- endmacro %}

{# from clause: one row per element of a list, as alias.load_id #}
{% macro each_of(list, alias) -%}
    {{ return(adapter.dispatch('each_of', 'edupa')(list, alias)) }}
{%- endmacro %}

{% macro default__each_of(list, alias) -%}
cross join lateral unnest({{ list }}) as {{ alias }} (load_id)
{%- endmacro %}

{# aggregate: the sorted distinct values of a text expression, joined by commas; null when there are none #}
{% macro sorted_text(expression) -%}
    {{ return(adapter.dispatch('sorted_text', 'edupa')(expression)) }}
{%- endmacro %}

{% macro default__sorted_text(expression) -%}
string_agg(distinct {{ expression }}, ',' order by {{ expression }})
{%- endmacro %}
