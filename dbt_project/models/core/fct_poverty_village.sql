-- grain: one row per poverty year × administrative village
with

poor_village as (select * from {{ ref('stg_poor_village') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

final as (
    select
        {{ surrogate_key(['poor_village.poverty_year', 'poor_village.village_code']) }} as poverty_village_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        poor_village.poverty_year,
        coalesce(area.current_county_code, substr(poor_village.village_code, 1, 6)) as county_code,
        poor_village.village_code,
        coalesce(poor_village.is_poor_village, false) as is_poor_village,
        poor_village.exit_year,
        poor_village.load_id
    from poor_village
    left join area on poor_village.village_code = area.from_area_code
)

select * from final
