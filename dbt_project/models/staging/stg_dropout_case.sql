-- grain: one row per year, county of residence and case open in the year, as now known
with

record as (select * from {{ source('landing', 'dropout_case') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        ledger_year,
        county_code,
        case_number,
        student_number_token,
        id_type,
        person_token,
        token_basis,
        sex,
        birth_date,
        last_school_code,
        last_grade,
        found_on,
        verified_on,
        reason,
        persuaded_on,
        persuasion_count,
        returned_on,
        closed_on,
        closing_kind,
        home_teaching_visit_count,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
