-- grain: one row per student × semester × entitlement × county that may see the row: the school's and the household's
with

status as (select * from {{ ref('int_aid_status') }}),
semester as (select * from {{ ref('dim_semester') }}),
entitlement as (select * from {{ ref('dim_entitlement') }}),
school as (select * from {{ ref('dim_school') }}),
bridge as (select * from {{ ref('bridge_person_match') }}),

in_order as (
    select
        status.aid_status_key,
        status.person_token,
        status.entitlement_code,
        semester.semester_order,
        semester.semester_code
    from status
    inner join semester on status.semester_key = semester.semester_key
    where status.status = 'missing'
),

-- semesters missed one after the other have the same distance between their place in time and their place in the row
in_runs as (
    select
        in_order.*,
        semester_order - row_number() over (
            partition by person_token, entitlement_code order by semester_order asc
        ) as run_number
    from in_order
),

missed as (
    select
        aid_status_key,
        first_value(semester_code) over (
            partition by person_token, entitlement_code, run_number order by semester_order asc
        ) as missing_since
    from in_runs
),

-- of several rows of the poverty list that are one pupil the surest match speaks
ranked_match as (
    select
        poverty_year,
        coalesce(pupil_person_token, poor_person_token) as person_token,
        match_method,
        match_score,
        row_number() over (
            partition by poverty_year, coalesce(pupil_person_token, poor_person_token)
            order by coalesce(match_score, 0) desc, match_method asc
        ) as preference
    from bridge
),

matched as (select * from ranked_match where preference = 1),

described as (
    select
        status.*,
        semester.poverty_year,
        entitlement.name_zh as entitlement_name,
        entitlement.plan_entitlement,
        school.school_name,
        missed.missing_since,
        matched.match_score,
        coalesce(matched.match_method, status.match_method) as known_match_method,
        case
            when status.first_paid_date is null then null
            when status.first_paid_date <= semester.end_date then 0
            else {{ dbt.datediff('semester.end_date', 'status.first_paid_date', 'day') }}
        end as days_late
    from status
    inner join semester on status.semester_key = semester.semester_key
    left join entitlement on status.entitlement_key = entitlement.entitlement_key
    left join school on status.school_key = school.school_key
    left join missed on status.aid_status_key = missed.aid_status_key
    left join matched
        on semester.poverty_year = matched.poverty_year
        and status.person_token = matched.person_token
),

seen_by as (
    select
        aid_status_key,
        school_county_code as county_code,
        case when school_county_code = home_county_code then 'school_and_home' else 'school' end as county_relation
    from status
    where school_county_code is not null
    union all
    select
        aid_status_key,
        home_county_code as county_code,
        'home' as county_relation
    from status
    where home_county_code is not null and (school_county_code is null or home_county_code <> school_county_code)
),

final as (
    select
        described.semester_code,
        described.person_token,
        described.entitlement_code,
        seen_by.county_code,
        cast(seen_by.county_relation as {{ dbt.type_string() }}) as county_relation,
        described.evaluation_year,
        described.term,
        described.entitlement_name,
        described.plan_entitlement,
        described.stage_code,
        described.grade_code,
        described.school_county_code,
        described.home_county_code,
        described.school_code,
        described.school_name,
        described.is_registered_poor,
        described.is_due_plan_strict,
        described.is_due_national_broad,
        described.standard_yuan,
        described.paid_yuan,
        described.payment_count,
        cast(described.status as {{ dbt.type_string() }}) as status,
        described.first_paid_date,
        described.days_late,
        described.is_matched,
        described.known_match_method as match_method,
        described.match_score,
        described.missing_since
    from described
    inner join seen_by on described.aid_status_key = seen_by.aid_status_key
)

select * from final
