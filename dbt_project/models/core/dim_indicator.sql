-- grain: one row per indicator × variant × basis (the registry)
with

registry as (select * from {{ ref('indicators') }}),

final as (
    select
        {{ surrogate_key(['indicator_code', 'variant', 'basis']) }} as indicator_key,
        indicator_code,
        variant,
        basis,
        subgroups,
        plan_row,
        name_zh,
        name_en,
        unit,
        measure_type,
        direction,
        decimals,
        -- rates are 0-1 in core; a percentage is a hundred times that
        case when unit in ('percent', 'percentage_points') then 100 else 1 end as unit_scale,
        roll_up,
        population_basis,
        responsible_level,
        disclosure_class,
        definition_source,
        formula_text,
        plan_quote,
        method_version,
        is_headline,
        has_target,
        is_in_county_mart,
        minuend_indicator_code,
        minuend_variant,
        subtrahend_indicator_code,
        subtrahend_variant,
        subtrahend_scope,
        source_feeds,
        missing_feeds,
        display_order
    from registry
)

select * from final
