-- grain: one row per reporting area × county that is pooled into it
with

area as (select * from {{ ref('dim_area') }}),
member as (select * from {{ ref('bridge_area_group') }}),

county as (
    select *
    from area
    where area_level = 'county' and is_current
),

together as (
    select
        area_code,
        'county' as area_level,
        area_code as county_code
    from county
    union all
    select
        city_code as area_code,
        'city' as area_level,
        area_code as county_code
    from county
    union all
    select
        region_code as area_code,
        'region' as area_level,
        area_code as county_code
    from county
    union all
    select
        group_code as area_code,
        'group' as area_level,
        county_code
    from member
),

final as (
    select
        {{ surrogate_key(['area_code']) }} as reporting_area_key,
        area_code,
        area_level,
        county_code
    from together
)

select * from final
