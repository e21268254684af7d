-- grain: one row per area code × start of validity (SCD2), plus the unknown member
with

area as (select * from {{ ref('stg_admin_area') }}),

versions as (
    select
        area.*,
        row_number() over (partition by area_code order by valid_from_date desc) = 1 as is_latest_version
    from area
),

latest as (
    select
        area_code,
        area_level,
        parent_area_code
    from versions
    where is_latest_version
),

-- climb village -> township -> county; a parent that was never delivered is read off the code
climbed as (
    select
        versions.*,
        case
            when versions.area_level = 'township' then versions.area_code
            when versions.area_level = 'village'
                then coalesce(versions.parent_area_code, substr(versions.area_code, 1, 9))
        end as township_code,
        case
            when versions.area_level = 'county' then versions.area_code
            when parent.area_level = 'county' then parent.area_code
            when grandparent.area_level = 'county' then grandparent.area_code
            when versions.area_level in ('township', 'village') then substr(versions.area_code, 1, 6)
        end as county_code
    from versions
    left join latest as parent on versions.parent_area_code = parent.area_code
    left join latest as grandparent on parent.parent_area_code = grandparent.area_code
),

with_city as (
    select
        climbed.*,
        case
            when climbed.area_level = 'city' then climbed.area_code
            when climbed.county_code is not null
                then coalesce(county.parent_area_code, substr(climbed.county_code, 1, 4))
        end as city_code
    from climbed
    left join latest as county on climbed.county_code = county.area_code
),

located as (
    select
        with_city.*,
        case
            when with_city.area_level = 'region' then with_city.area_code
            else coalesce(city.parent_area_code, substr(with_city.area_code, 1, 2))
        end as region_code
    from with_city
    left join latest as city on with_city.city_code = city.area_code
),

final as (
    select
        {{ surrogate_key(['area_code', 'valid_from_date']) }} as area_key,
        area_code,
        area_name,
        area_level,
        parent_area_code,
        township_code,
        county_code,
        city_code,
        region_code,
        urban_rural_code,
        coalesce(is_plan_county, false) as is_plan_county,
        coalesce(is_preschool_priority_county, false) as is_preschool_priority_county,
        coalesce(is_poor_village, false) as is_poor_village,
        poverty_exit_date,
        valid_from_date,
        valid_to_date,
        is_latest_version,
        is_latest_version and valid_to_date is null as is_current,
        load_id
    from located
    union all
    select
        {{ unknown_key() }} as area_key,
        '-1' as area_code,
        '未知' as area_name,
        'unknown' as area_level,
        null as parent_area_code,
        null as township_code,
        null as county_code,
        null as city_code,
        null as region_code,
        null as urban_rural_code,
        false as is_plan_county,
        false as is_preschool_priority_county,
        false as is_poor_village,
        null as poverty_exit_date,
        cast('1900-01-01' as date) as valid_from_date,
        null as valid_to_date,
        false as is_latest_version,
        false as is_current,
        null as load_id
)

select * from final
