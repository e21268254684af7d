-- grain: one row per school year × pupil × county that may see the row: that of the school and that of the household
with

pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
school as (select * from {{ ref('dim_school') }}),
poverty as (select * from {{ ref('fct_poverty_person') }}),
disabled as (select * from {{ ref('fct_disabled_child') }}),

primary_roll as (
    select * from pupil
    where is_primary_roll and person_token is not null and county_code is not null
),

-- a person on two lists of a year: the county of the household speaks first, then the smallest number
ranked_poverty as (
    select
        primary_roll.enrollment_pupil_key,
        poverty.poverty_status,
        row_number() over (
            partition by primary_roll.enrollment_pupil_key
            order by
                case when poverty.county_code = primary_roll.home_county_code then 0 else 1 end asc,
                poverty.county_code asc,
                poverty.person_number asc
        ) as preference
    from primary_roll
    inner join poverty
        on primary_roll.person_token = poverty.person_token
        and primary_roll.school_start_year = poverty.poverty_year
),

poor as (select * from ranked_poverty where preference = 1),

-- the list of disabled children is kept by the county of residence and shown to no other
listed_disability as (
    select
        reference_year,
        county_code,
        person_token,
        min(disability_code) as disability_code
    from disabled
    where person_token is not null
    group by reference_year, county_code, person_token
),

entitled as (
    select
        enrollment_pupil_key,
        county_code,
        case when county_code = home_county_code then 'school_and_home' else 'school' end as county_relation
    from primary_roll
    union all
    select
        enrollment_pupil_key,
        home_county_code as county_code,
        'home' as county_relation
    from primary_roll
    where home_county_code is not null and home_county_code <> county_code
),

final as (
    select
        primary_roll.school_year,
        primary_roll.person_token,
        entitled.county_code,
        cast(entitled.county_relation as {{ dbt.type_string() }}) as county_relation,
        primary_roll.county_code as school_county_code,
        primary_roll.home_county_code,
        primary_roll.school_code,
        school.school_name,
        primary_roll.stage_code,
        primary_roll.grade_code,
        primary_roll.class_number,
        primary_roll.sex_code,
        primary_roll.age_years,
        primary_roll.boarding_code,
        poor.enrollment_pupil_key is not null as is_registered_poor,
        poor.poverty_status,
        case
            when entitled.county_relation = 'school' then primary_roll.disability_code
            when entitled.county_relation = 'home' then listed_disability.disability_code
            else coalesce(primary_roll.disability_code, listed_disability.disability_code)
        end as disability_code
    from entitled
    inner join primary_roll on entitled.enrollment_pupil_key = primary_roll.enrollment_pupil_key
    left join school on primary_roll.school_key = school.school_key
    left join poor on primary_roll.enrollment_pupil_key = poor.enrollment_pupil_key
    left join listed_disability
        on primary_roll.person_token = listed_disability.person_token
        and primary_roll.school_start_year = listed_disability.reference_year
        and entitled.county_code = listed_disability.county_code
)

select * from final
