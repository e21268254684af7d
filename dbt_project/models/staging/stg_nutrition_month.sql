-- grain: one row per year, month and school, as now known
with

record as (select * from {{ source('landing', 'nutrition_month') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        aid_year,
        month,
        school_code,
        county_code,
        pupil_count,
        beneficiary_count,
        meal_day_count,
        meal_count,
        cast(standard_yuan as numeric(18, 2)) as standard_yuan,
        cast(allocated_yuan as numeric(18, 2)) as allocated_yuan,
        cast(spent_yuan as numeric(18, 2)) as spent_yuan,
        cast(balance_yuan as numeric(18, 2)) as balance_yuan,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
