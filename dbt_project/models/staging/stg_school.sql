-- grain: one row per school year × school, as now known
with

record as (select * from {{ source('landing', 'school') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        school_year,
        cast(substr(school_year, 1, 4) as integer) as school_start_year,
        county_code,
        county_name,
        school_code,
        school_name,
        school_type_code,
        owner_code,
        village_code,
        urban_rural_code,
        central_school_code,
        is_ethnic_school,
        attached_class_types,
        change_type_code,
        change_date,
        predecessor_codes,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
