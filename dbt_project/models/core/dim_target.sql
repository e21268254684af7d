-- grain: one row per indicator × reporting area with a target × subgroup
with

target as (select * from {{ ref('targets') }}),
assumption as (select * from {{ ref('assumptions') }}),
reporting_area as (select * from {{ ref('dim_reporting_area') }}),

final as (
    select
        {{ surrogate_key(['target.indicator_code', 'reporting_area.area_code', 'target.subgroup']) }} as target_key,
        reporting_area.reporting_area_key,
        target.indicator_code,
        reporting_area.area_code,
        target.subgroup,
        target.scope,
        target.operator,
        cast(target.target_value as numeric(20, 4)) as target_value,
        target.unit,
        target.target_year,
        target.year_basis,
        target.assumption_id,
        assumption.reason_zh as assumption_reason_zh,
        assumption.reason_en as assumption_reason_en,
        target.cadence,
        target.quote,
        target.note
    from target
    inner join reporting_area
        on (target.scope = 'region' and reporting_area.area_level = 'region')
        or (target.scope = 'plan_county' and reporting_area.is_plan_county and reporting_area.area_level = 'county')
        or (target.scope = 'group' and target.scope_group_code = reporting_area.area_code)
    left join assumption on target.assumption_id = assumption.assumption_id
)

select * from final
