-- grain: one row per person token (restricted: token, sex, birth year and month, ethnicity), plus the unknown member
with

pupil as (select * from {{ ref('stg_pupil') }}),
poor_person as (select * from {{ ref('stg_poor_person') }}),
disabled_child as (select * from {{ ref('stg_disabled_child') }}),

described as (
    select
        person_token,
        token_basis,
        sex_code,
        birth_date,
        ethnicity_code,
        1 as source_order,
        school_start_year as source_year,
        record_key,
        load_id
    from pupil
    union all
    select
        person_token,
        token_basis,
        sex_code,
        birth_date,
        ethnicity_code,
        2 as source_order,
        poverty_year as source_year,
        record_key,
        load_id
    from poor_person
    union all
    select
        person_token,
        token_basis,
        sex_code,
        birth_date,
        cast(null as {{ dbt.type_string() }}) as ethnicity_code,
        3 as source_order,
        reference_year as source_year,
        record_key,
        load_id
    from disabled_child
),

-- the pupil register is checked at school every year, so it speaks before the other two; the latest year wins
ranked as (
    select
        described.*,
        row_number() over (
            partition by person_token
            order by source_order asc, source_year desc, record_key asc, load_id asc
        ) as preference
    from described
    where person_token is not null
),

final as (
    select
        {{ surrogate_key(['person_token']) }} as person_key,
        person_token,
        token_basis,
        sex_code,
        cast(extract(year from birth_date) as integer) as birth_year,
        cast(extract(month from birth_date) as integer) as birth_month,
        ethnicity_code,
        load_id
    from ranked
    where preference = 1
    union all
    select
        {{ unknown_key() }} as person_key,
        '-1' as person_token,
        'unknown' as token_basis,
        null as sex_code,
        null as birth_year,
        null as birth_month,
        null as ethnicity_code,
        null as load_id
)

select * from final
