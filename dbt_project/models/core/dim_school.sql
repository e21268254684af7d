-- grain: one row per school × version (SCD2 over the yearly school registers), plus the unknown member
with

register as (select * from {{ ref('stg_school') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
school_type as (select * from {{ ref('school_types') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

last_register as (select max(school_start_year) as school_start_year from register),

described as (
    select
        register.*,
        {{ surrogate_key([
            'school_name', 'county_code', 'school_type_code', 'owner_code', 'village_code', 'urban_rural_code',
            'central_school_code', 'is_ethnic_school', 'attached_class_types'
        ]) }} as attribute_hash
    from register
),

compared as (
    select
        described.*,
        lag(attribute_hash) over (partition by school_code order by school_start_year) as previous_hash,
        lag(school_start_year) over (partition by school_code order by school_start_year) as previous_year
    from described
),

-- a new version starts where an attribute changes, or where the school was away for a year
marked as (
    select
        compared.*,
        case
            when attribute_hash = previous_hash and school_start_year = previous_year + 1 then 0
            else 1
        end as is_new_version
    from compared
),

numbered as (
    select
        marked.*,
        sum(is_new_version) over (
            partition by school_code order by school_start_year rows between unbounded preceding and current row
        ) as version_number
    from marked
),

versions as (
    select
        numbered.*,
        max(school_start_year) over (partition by school_code, version_number) as last_start_year
    from numbered
),

-- half-open: a version holds from its first snapshot up to the snapshot at which it no longer holds
final as (
    select
        {{ surrogate_key(['versions.school_code', 'versions.school_start_year']) }} as school_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        versions.school_code,
        versions.school_name,
        versions.county_code,
        versions.school_type_code,
        coalesce(school_type.is_teaching_point, false) as is_teaching_point,
        versions.owner_code,
        versions.village_code,
        versions.urban_rural_code,
        versions.central_school_code,
        coalesce(versions.is_ethnic_school, false) as is_ethnic_school,
        versions.attached_class_types,
        first_year.snapshot_date as valid_from_date,
        case
            when versions.last_start_year < last_register.school_start_year then year_after.snapshot_date
        end as valid_to_date,
        versions.last_start_year = last_register.school_start_year as is_current,
        versions.load_id
    from versions
    inner join school_year as first_year on versions.school_start_year = first_year.school_start_year
    inner join school_year as year_after on versions.last_start_year + 1 = year_after.school_start_year
    left join school_type on versions.school_type_code = school_type.school_type_code
    left join area on versions.village_code = area.from_area_code
    cross join last_register
    where versions.is_new_version = 1
    union all
    select
        {{ unknown_key() }} as school_key,
        {{ unknown_key() }} as area_key,
        '-1' as school_code,
        '未知' as school_name,
        null as county_code,
        null as school_type_code,
        false as is_teaching_point,
        null as owner_code,
        null as village_code,
        null as urban_rural_code,
        null as central_school_code,
        false as is_ethnic_school,
        null as attached_class_types,
        cast('1900-01-01' as date) as valid_from_date,
        null as valid_to_date,
        false as is_current,
        null as load_id
)

select * from final
