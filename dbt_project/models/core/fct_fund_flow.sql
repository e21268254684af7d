-- grain: one row per fiscal year × ledger entry (allocated, arrived, paid, returned or taken in)
with

entry as (select * from {{ ref('stg_fund_ledger') }}),
school as (select * from {{ ref('dim_school') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

final as (
    select
        {{ surrogate_key(['entry.fiscal_year', 'entry.entry_number']) }} as fund_flow_key,
        coalesce(school.school_key, {{ unknown_key() }}) as school_key,
        entry.fiscal_year,
        entry.entry_number,
        entry.document_number,
        entry.fund_name,
        entry.program_code,
        entry.stage as fund_stage,
        entry.entitlement_code,
        entry.source_level,
        entry.movement,
        coalesce(area.current_county_code, entry.county_code) as county_code,
        entry.recipient_school_code,
        school.county_code as recipient_county_code,
        entry.grant_kind,
        entry.pupil_count,
        entry.amount_yuan,
        entry.entry_date,
        entry.payer_student_number_token,
        entry.load_id
    from entry
    left join area on entry.county_code = area.from_area_code
    left join evaluation_year on entry.fiscal_year = evaluation_year.fiscal_year
    left join school
        on entry.recipient_school_code = school.school_code
        and evaluation_year.stock_snapshot_date >= school.valid_from_date
        and evaluation_year.stock_snapshot_date < coalesce(school.valid_to_date, cast('9999-12-31' as date))
)

select * from final
