{# Completed years of age on a day. Year, month and day are compared as numbers: subtracting dates means
   something else on every engine. Born on 1 September 2014 is 6 on 1 September 2020, on 2 September 5. #}
{% macro age_on(birth_date, on_date) -%}
    {{ return(adapter.dispatch('age_on', 'edupa')(birth_date, on_date)) }}
{%- endmacro %}

{% macro default__age_on(birth_date, on_date) -%}
cast(
    extract(year from {{ on_date }}) - extract(year from {{ birth_date }})
    - case
        when extract(month from {{ birth_date }}) * 100 + extract(day from {{ birth_date }})
            > extract(month from {{ on_date }}) * 100 + extract(day from {{ on_date }}) then 1
        else 0
    end as integer
)
{%- endmacro %}

{# Whole days from one date to another; missing where one of them is. #}
{% macro days_between(first_date, last_date) -%}
    {{ return(adapter.dispatch('days_between', 'edupa')(first_date, last_date)) }}
{%- endmacro %}

{% macro default__days_between(first_date, last_date) -%}
cast({{ last_date }} - {{ first_date }} as integer)
{%- endmacro %}

{# The n-th part (from 1) of a text list; empty lists and missing parts give null. #}
{% macro list_part(text_list, position) -%}
    {{ return(adapter.dispatch('list_part', 'edupa')(text_list, position)) }}
{%- endmacro %}

{% macro default__list_part(text_list, position) -%}
nullif(trim(split_part({{ text_list }}, '、', {{ position }})), '')
{%- endmacro %}

{# Two values differ, where null equals null. #}
{% macro is_changed(left_value, right_value) -%}
    {{ return(adapter.dispatch('is_changed', 'edupa')(left_value, right_value)) }}
{%- endmacro %}

{% macro default__is_changed(left_value, right_value) -%}
{{ left_value }} is distinct from {{ right_value }}
{%- endmacro %}

{# The first day of a month. #}
{% macro first_of_month(year, month) -%}
    {{ return(adapter.dispatch('first_of_month', 'edupa')(year, month)) }}
{%- endmacro %}

{% macro default__first_of_month(year, month) -%}
cast(cast({{ year }} as {{ dbt.type_string() }}) || '-' || right('0' || cast({{ month }} as {{ dbt.type_string() }}), 2) || '-01' as date)
{%- endmacro %}

{# The same day a number of months later; the last of the month where it has no such day. #}
{% macro months_later(day, months) -%}
    {{ return(adapter.dispatch('months_later', 'edupa')(day, months)) }}
{%- endmacro %}

{% macro default__months_later(day, months) -%}
cast({{ day }} + make_interval(months => cast({{ months }} as integer)) as date)
{%- endmacro %}

{# The calendar year of a day. #}
{% macro year_of(day) -%}
cast(extract(year from {{ day }}) as integer)
{%- endmacro %}

{# the n-th part (from 1) of a name that is put together with bars #}
{% macro name_part(name, position) -%}
    {{ return(adapter.dispatch('name_part', 'edupa')(name, position)) }}
{%- endmacro %}

{% macro default__name_part(name, position) -%}
split_part({{ name }}, '|', {{ position }})
{%- endmacro %}
