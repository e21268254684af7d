{# What: versions of one thing never overlap in time (half-open spans, an open end lasts for ever).
   When it matters: an overlap makes a lookup by day return two versions, and facts double.
   How to resolve: compare the two versions that the test returns with the feed that they came from. #}
{% test no_overlapping_spans(model, columns, valid_from, valid_to) %}
with

ordered as (
    select
        {{ columns | join(', ') }},
        {{ valid_from }} as span_from,
        {{ valid_to }} as span_to,
        lead({{ valid_from }}) over (partition by {{ columns | join(', ') }} order by {{ valid_from }}) as next_from
    from {{ model }}
)

select *
from ordered
where
    (next_from is not null and (span_to is null or span_to > next_from))
    or span_to <= span_from
{% endtest %}
