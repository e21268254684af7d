{# whose row it is: without an ID number a row is known by the person to whom its student number was last given;
   expects `latest_identifier`, the latest person of each student number, joined to the rows #}
{% macro resolved_person(rows) -%}
case
    when {{ rows }}.token_basis = 'id_number' then {{ rows }}.person_token
    else coalesce(latest_identifier.person_token, {{ rows }}.person_token)
end as resolved_person_token,
case
    when {{ rows }}.token_basis = 'id_number' then 'id_number'
    when latest_identifier.person_token is not null then latest_identifier.token_basis
    else {{ rows }}.token_basis
end as resolved_token_basis
{%- endmacro %}
