-- grain: one row per student number × person; a corrected ID or a temporary number gives a person a second number
with

pupil as (select * from {{ ref('stg_pupil') }}),

paired as (
    select
        student_number_token,
        person_token,
        min(token_basis) as token_basis,
        min(student_number_type) as student_number_type,
        min(school_start_year) as first_start_year,
        max(school_start_year) as last_start_year,
        min(load_id) as load_id
    from pupil
    where student_number_token is not null and person_token is not null
    group by student_number_token, person_token
),

final as (
    select
        {{ surrogate_key(['student_number_token', 'person_token']) }} as student_identifier_key,
        {{ surrogate_key(['person_token']) }} as person_key,
        student_number_token,
        student_number_type,
        person_token,
        token_basis,
        first_start_year,
        last_start_year,
        row_number() over (
            partition by student_number_token order by last_start_year desc, person_token asc
        ) = 1 as is_latest_person,
        load_id
    from paired
)

select * from final
