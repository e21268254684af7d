-- grain: one row per delivery (school year × county) × register event
with

event as (select * from {{ ref('stg_student_event') }}),
event_type as (select * from {{ ref('event_types') }}),
student_identifier as (select * from {{ ref('bridge_student_identifier') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
person as (select * from {{ ref('dim_person') }}),

latest_identifier as (select * from student_identifier where is_latest_person),

-- an event without an ID number is known by its student number
identified as (
    select
        event.*,
        {{ resolved_person('event') }}
    from event
    left join latest_identifier on event.student_number_token = latest_identifier.student_number_token
),

final as (
    select
        {{ surrogate_key(['identified.school_year', 'identified.county_code', 'identified.event_number']) }}
            as student_event_key,
        school_year.school_year_key,
        coalesce(person.person_key, {{ unknown_key() }}) as person_key,
        identified.school_year,
        identified.school_start_year,
        identified.county_code,
        identified.event_number,
        identified.student_number_token,
        identified.resolved_person_token as person_token,
        identified.resolved_token_basis as token_basis,
        identified.event_type,
        identified.event_date,
        identified.from_school_code,
        identified.to_school_code,
        identified.approval_status,
        coalesce(event_type.is_transfer, false) as is_transfer,
        coalesce(event_type.is_legitimate_exit, false) as is_legitimate_exit,
        identified.load_id
    from identified
    inner join school_year on identified.school_year = school_year.school_year
    left join person on identified.resolved_person_token = person.person_token
    left join event_type on identified.event_type = event_type.event_type
)

select * from final
