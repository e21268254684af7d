-- grain: one row per budget year and entry number, as now known
with

record as (select * from {{ source('landing', 'fund_ledger') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        fiscal_year,
        entry_number,
        document_number,
        fund_name,
        program_code,
        stage,
        entitlement_code,
        source_level,
        movement,
        county_code,
        recipient_school_code,
        grant_kind,
        pupil_count,
        cast(amount_yuan as numeric(18, 2)) as amount_yuan,
        entry_date,
        payer_student_number_token,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
