-- grain: one row per year, county of the school, term and student, as now known
with

record as (select * from {{ source('landing', 'care_record') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        aid_year,
        county_code,
        term,
        student_number_token,
        school_code,
        id_type,
        person_token,
        token_basis,
        care_file_number,
        child_kind,
        guardianship,
        opened_on,
        closed_on,
        visit_count,
        activity_count,
        asked_boarding,
        granted_boarding,
        is_in_rehabilitation,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
