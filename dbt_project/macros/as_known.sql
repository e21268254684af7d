{# What landing and ledger held at a load: var as_of_load_id names the last load that counts, so that an old release can
   be built again. Without it, and that is every ordinary build, "now" is meant and the filter is the plain one that the
   partial indexes serve. Every staging model takes its rows through these two macros, and nothing else reads landing. #}

{# Condition on a version of a record: it is the one that was valid. #}
{% macro known_versions() -%}
{%- set last_load = var('as_of_load_id', none) -%}
{%- if last_load is none -%}
ended_load_id is null
{%- else -%}
load_id <= {{ last_load | int }} and (ended_load_id is null or ended_load_id > {{ last_load | int }})
{%- endif -%}
{%- endmacro %}

{# Condition on an entry of the ledger: it had been written. #}
{% macro known_loads(load_id) -%}
{%- set last_load = var('as_of_load_id', none) -%}
{%- if last_load is none -%}
{{ load_id }} is not null
{%- else -%}
{{ load_id }} <= {{ last_load | int }}
{%- endif -%}
{%- endmacro %}
