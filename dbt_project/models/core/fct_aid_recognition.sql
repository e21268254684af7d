-- grain: one row per aid year × county × term × student recognized as in hardship
with

recognition as (select * from {{ ref('stg_aid_recognition') }}),
student_identifier as (select * from {{ ref('bridge_student_identifier') }}),
semester as (select * from {{ ref('dim_semester') }}),
hardship_type as (select * from {{ ref('hardship_types') }}),
school as (select * from {{ ref('dim_school') }}),
person as (select * from {{ ref('dim_person') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

latest_identifier as (select * from student_identifier where is_latest_person),

-- a row without an ID number is known by its student number
identified as (
    select
        recognition.*,
        {{ resolved_person('recognition') }}
    from recognition
    left join latest_identifier
        on recognition.student_number_token = latest_identifier.student_number_token
        and recognition.token_basis <> 'id_number'
),

final as (
    select
        {{ surrogate_key([
            'identified.aid_year', 'identified.county_code', 'identified.term', 'identified.student_number_token'
        ]) }} as aid_recognition_key,
        coalesce(person.person_key, {{ unknown_key() }}) as person_key,
        semester.semester_key,
        coalesce(school.school_key, {{ unknown_key() }}) as school_key,
        identified.resolved_person_token as person_token,
        identified.resolved_token_basis as token_basis,
        identified.student_number_token,
        identified.aid_year,
        identified.term,
        semester.semester_code,
        coalesce(area.current_county_code, identified.county_code) as county_code,
        identified.school_code,
        identified.stage as stage_code,
        identified.hardship_type,
        identified.hardship_level,
        coalesce(hardship_type.is_national_broad, false) as is_national_broad,
        coalesce(identified.asked_work_study, false) as has_asked_work_study,
        identified.recognized_on as recognized_date,
        identified.load_id
    from identified
    inner join semester
        on identified.aid_year = semester.evaluation_year and identified.term = semester.term
    left join hardship_type on identified.hardship_type = hardship_type.hardship_type
    left join person on identified.resolved_person_token = person.person_token
    left join area on identified.county_code = area.from_area_code
    left join school
        on identified.school_code = school.school_code
        and semester.cut_off_date >= school.valid_from_date
        and semester.cut_off_date < coalesce(school.valid_to_date, cast('9999-12-31' as date))
)

select * from final
