-- grain: one row per poverty year × person number (poverty register at year end), as now known
with

record as (select * from {{ source('landing', 'poor_person') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        poverty_year,
        county_code,
        village_code,
        household_number,
        person_number,
        person_token,
        token_basis,
        relation_to_head,
        sex as sex_code,
        birth_date,
        ethnicity_code,
        school_status,
        out_of_school_reason,
        health_status,
        labor_ability,
        poverty_status,
        exit_year,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
