-- grain: one row per area that indicators are reported for: county, city, region, group of counties
with

area as (select * from {{ ref('dim_area') }}),
area_group as (select * from {{ ref('dim_area_group') }}),

administrative as (
    select
        area_code,
        area_name,
        area_level,
        parent_area_code,
        is_plan_county
    from area
    where is_current and area_level in ('county', 'city', 'region')
),

region as (select * from administrative where area_level = 'region'),

grouped as (
    select
        area_group.group_code as area_code,
        area_group.name_zh as area_name,
        'group' as area_level,
        region.area_code as parent_area_code,
        false as is_plan_county
    from area_group
    cross join region
),

together as (
    select * from administrative
    union all
    select * from grouped
),

final as (
    select
        {{ surrogate_key(['area_code']) }} as reporting_area_key,
        area_code,
        area_name,
        area_level,
        parent_area_code,
        is_plan_county
    from together
)

select * from final
