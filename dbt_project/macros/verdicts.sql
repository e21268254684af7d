{# Comparison of a value with its target, in whole numbers only: 100 * 1859 >= 93 * 2000 is decided without a rounded
   percentage. A count has the denominator 1. #}

{# whether the target is reached; null without a target or a value #}
{% macro target_reached(operator, unit_scale, numerator, target_value, denominator) -%}
case
    when {{ operator }} = '>=' then {{ unit_scale }} * {{ numerator }} >= {{ target_value }} * {{ denominator }}
    when {{ operator }} = '=' then {{ unit_scale }} * {{ numerator }} = {{ target_value }} * {{ denominator }}
end
{%- endmacro %}

{# the straight line from the baseline to the target, as one fraction: its numerator … #}
{% macro line_numerator(is_before_target, unit_scale, baseline_numerator, baseline_denominator, target_value, years_since, years_to) -%}
case
    when {{ is_before_target }}
        then
            {{ unit_scale }} * {{ baseline_numerator }} * {{ years_to }}
            + ({{ target_value }} * {{ baseline_denominator }} - {{ unit_scale }} * {{ baseline_numerator }})
            * {{ years_since }}
    else {{ target_value }}
end
{%- endmacro %}

{# … and its denominator #}
{% macro line_denominator(is_before_target, baseline_denominator, years_to) -%}
case when {{ is_before_target }} then {{ baseline_denominator }} * {{ years_to }} else 1 end
{%- endmacro %}

{# the line as a value in the unit of the indicator #}
{% macro line_value(line_numerator, line_denominator) -%}
cast(cast({{ line_numerator }} as numeric(38, 10)) / nullif({{ line_denominator }}, 0) as numeric(20, 4))
{%- endmacro %}

{# met | on_track | off_track | no_target | not_measurable, of a relation that has the columns target_value,
   evaluation_year, target_year, direction, unit_scale, numerator, line_numerator, line_denominator, is_reached #}
{% macro verdict_of(value, denominator) -%}
case
    when {{ value }} is null then 'not_measurable'
    when target_value is null then 'no_target'
    when is_reached then 'met'
    when evaluation_year >= target_year then 'off_track'
    when line_numerator is null then 'not_measurable'
    when direction = 'higher' and unit_scale * numerator * line_denominator >= line_numerator * {{ denominator }}
        then 'on_track'
    when direction = 'lower' and unit_scale * numerator * line_denominator <= line_numerator * {{ denominator }}
        then 'on_track'
    else 'off_track'
end
{%- endmacro %}
