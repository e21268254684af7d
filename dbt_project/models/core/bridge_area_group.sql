-- grain: one row per group × member county; membership follows the flags of the area feed
with

area_group as (select * from {{ ref('dim_area_group') }}),
area as (select * from {{ ref('dim_area') }}),

county as (
    select *
    from area
    where area_level = 'county' and is_current
),

final as (
    select
        area_group.area_group_key,
        county.area_key,
        area_group.group_code,
        county.area_code as county_code,
        county.load_id
    from area_group
    inner join county
        on area_group.needs_plan_county = county.is_plan_county
        and coalesce(area_group.needs_preschool_priority, county.is_preschool_priority_county)
        = county.is_preschool_priority_county
)

select * from final
