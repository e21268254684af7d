-- grain: one row per indicator × variant × basis
with

indicator as (select * from {{ ref('dim_indicator') }}),
target as (select * from {{ ref('targets') }}),
assumption as (select * from {{ ref('assumptions') }}),

-- the scopes of one indicator share one target; the first one written stands for all
target_scope as (
    select
        target.*,
        row_number() over (partition by indicator_code order by scope asc, scope_group_code asc nulls last)
            as scope_number
    from target
),

target_once as (select * from target_scope where scope_number = 1),

final as (
    select
        indicator.indicator_code,
        indicator.variant,
        indicator.basis,
        indicator.is_headline,
        indicator.name_zh,
        indicator.name_en,
        indicator.unit,
        indicator.measure_type,
        indicator.direction,
        indicator.decimals,
        indicator.subgroups,
        indicator.population_basis,
        indicator.roll_up,
        indicator.responsible_level,
        indicator.disclosure_class,
        indicator.formula_text,
        indicator.definition_source,
        indicator.source_feeds,
        indicator.plan_row,
        indicator.plan_quote,
        target_once.operator as target_operator,
        cast(target_once.target_value as numeric(20, 4)) as target_value,
        target_once.target_year,
        target_once.year_basis as target_year_basis,
        case
            when target_once.year_basis = 'assumed'
                then 'XX(按假定年份 ' || cast(target_once.target_year as {{ dbt.type_string() }}) || ' 计)'
            else cast(target_once.target_year as {{ dbt.type_string() }})
        end as target_year_text,
        target_once.assumption_id,
        assumption.reason_zh as assumption_reason_zh,
        assumption.reason_en as assumption_reason_en,
        cast(indicator.method_version as {{ dbt.type_string() }}) as method_version,
        indicator.display_order,
        indicator.missing_feeds
    from indicator
    left join target_once on indicator.indicator_code = target_once.indicator_code and indicator.has_target
    left join assumption on target_once.assumption_id = assumption.assumption_id
)

select * from final
