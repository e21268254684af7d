-- grain: one row per delivery (school year × county) × event number, as now known
with

record as (select * from {{ source('landing', 'student_event') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        school_year,
        cast(substr(school_year, 1, 4) as integer) as school_start_year,
        county_code,
        event_number,
        student_number_token,
        person_token,
        token_basis,
        event_type,
        event_date,
        from_school_code,
        to_school_code,
        reason,
        approval_status,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
