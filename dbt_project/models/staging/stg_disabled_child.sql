-- grain: one row per year × county of residence × disability certificate, as now known
with

record as (select * from {{ source('landing', 'disabled_child') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        reference_year,
        county_code,
        certificate_token,
        person_token,
        token_basis,
        sex as sex_code,
        disability_type as disability_code,
        disability_grade,
        component_types,
        birth_date,
        home_village_code,
        schooling_status,
        is_in_rehabilitation,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
