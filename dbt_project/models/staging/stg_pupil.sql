-- grain: one row per school year × school × student number (pupil register), as now known
with

record as (select * from {{ source('landing', 'pupil') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        school_year,
        cast(substr(school_year, 1, 4) as integer) as school_start_year,
        county_code,
        school_code,
        student_number_token,
        student_number_type,
        person_token,
        token_basis,
        sex as sex_code,
        birth_date,
        id_type,
        ethnicity_code,
        home_area_code,
        hukou_type,
        stage as stage_code,
        grade as grade_code,
        class_number,
        enrolled_on as enrolled_on_date,
        boarding_code,
        disability_code,
        is_inclusive_education,
        left_behind_code,
        is_migrant_child,
        is_orphan,
        guardian_token,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
