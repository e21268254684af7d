-- grain: one row per year, policy and school insured, as now known
with

record as (select * from {{ source('landing', 'liability_insurance') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        policy_year,
        policy_number,
        school_code,
        county_code,
        insurer_name,
        is_no_fault,
        valid_from,
        valid_to,
        insured_count,
        cast(premium_yuan as numeric(18, 2)) as premium_yuan,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
