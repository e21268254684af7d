-- grain: one row per year, county of the school, term and student, as now known
with

record as (select * from {{ source('landing', 'aid_recognition') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        aid_year,
        county_code,
        term,
        student_number_token,
        school_code,
        stage,
        id_type,
        person_token,
        token_basis,
        hardship_type,
        hardship_level,
        recognized_on,
        recognition_basis,
        asked_work_study,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
