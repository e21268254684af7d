{# What: the model holds as many rows as the one it is made from (less the unknown member where it has one).
   When it matters: a lookup that drops or multiplies rows changes every indicator silently.
   How to resolve: find the rows without a partner (a code missing in a seed, a school year outside the spine)
   or the lookup with two partners (overlapping versions). #}
{% test same_row_count(model, compare_to, unknown_members=0) %}
with

this as (select count(*) - {{ unknown_members }} as row_count from {{ model }}),
other as (select count(*) as row_count from {{ compare_to }})

select
    this.row_count,
    other.row_count as expected_row_count
from this
cross join other
where this.row_count <> other.row_count
{% endtest %}
