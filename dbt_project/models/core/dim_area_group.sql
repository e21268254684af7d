-- grain: one row per group of counties that is pooled
with

area_group as (select * from {{ ref('area_groups') }}),

final as (
    select
        {{ surrogate_key(['group_code']) }} as area_group_key,
        group_code,
        name_zh,
        name_en,
        needs_plan_county,
        needs_preschool_priority,
        parent_level,
        display_order
    from area_group
)

select * from final
