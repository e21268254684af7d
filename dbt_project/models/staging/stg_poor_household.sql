-- grain: one row per poverty year × household (poverty register at year end), as now known
with

record as (select * from {{ source('landing', 'poor_household') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        poverty_year,
        county_code,
        village_code,
        household_number,
        head_token,
        member_count,
        household_type,
        main_cause,
        poverty_status,
        exit_year,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
