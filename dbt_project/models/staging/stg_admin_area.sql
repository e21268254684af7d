-- grain: one row per area code × start of validity, as now known
with

record as (select * from {{ source('landing', 'admin_area') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        area_code,
        area_name,
        area_level,
        parent_code as parent_area_code,
        urban_rural_code,
        is_plan_county,
        is_preschool_priority_county,
        is_poor_village,
        poverty_exit_date,
        valid_from as valid_from_date,
        valid_to as valid_to_date,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
