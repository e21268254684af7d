-- grain: one row per year and contract number, as now known
with

record as (select * from {{ source('landing', 'student_loan') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        aid_year,
        contract_number,
        county_code,
        person_token,
        token_basis,
        institution_code,
        institution_name,
        is_in_region,
        student_level,
        applied_on,
        decision,
        cast(amount_yuan as numeric(12, 2)) as amount_yuan,
        is_registered_poor,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
