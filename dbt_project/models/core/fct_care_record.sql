-- grain: one row per year × county of the school × term × student number (care file of a child)
with

care as (select * from {{ ref('stg_care_record') }}),
student_identifier as (select * from {{ ref('bridge_student_identifier') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
school as (select * from {{ ref('dim_school') }}),
person as (select * from {{ ref('dim_person') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

latest_identifier as (select * from student_identifier where is_latest_person),

-- a file without an ID number is known by its student number
identified as (
    select
        care.*,
        case when care.term = 'spring' then care.aid_year - 1 else care.aid_year end as school_start_year,
        {{ resolved_person('care') }}
    from care
    left join latest_identifier on care.student_number_token = latest_identifier.student_number_token
),

final as (
    select
        {{ surrogate_key([
            'identified.aid_year', 'identified.county_code', 'identified.term', 'identified.student_number_token'
        ]) }} as care_record_key,
        coalesce(person.person_key, {{ unknown_key() }}) as person_key,
        coalesce(school.school_key, {{ unknown_key() }}) as school_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        identified.aid_year,
        identified.term,
        identified.school_start_year,
        coalesce(area.current_county_code, identified.county_code) as county_code,
        identified.school_code,
        identified.student_number_token,
        identified.resolved_person_token as person_token,
        identified.resolved_token_basis as token_basis,
        identified.care_file_number,
        identified.child_kind,
        identified.guardianship,
        identified.opened_on as opened_date,
        identified.closed_on as closed_date,
        identified.visit_count,
        identified.activity_count,
        identified.asked_boarding,
        identified.granted_boarding,
        identified.is_in_rehabilitation,
        identified.load_id
    from identified
    inner join school_year on identified.school_start_year = school_year.school_start_year
    left join person on identified.resolved_person_token = person.person_token
    left join area on identified.county_code = area.from_area_code
    left join school
        on identified.school_code = school.school_code
        and school_year.snapshot_date >= school.valid_from_date
        and school_year.snapshot_date < coalesce(school.valid_to_date, cast('9999-12-31' as date))
)

select * from final
