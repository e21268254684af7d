-- grain: one row per poverty year × registered-poor person, with the pupil of that year's register matched to them
with

poor_person as (select * from {{ ref('fct_poverty_person') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
poverty_status as (select * from {{ ref('poverty_statuses') }}),

-- a person on two rows of one list (moved, or entered twice) is one person
ranked as (
    select
        person_key,
        poverty_year,
        person_token,
        token_basis,
        county_code,
        age_years,
        school_status,
        poverty_status,
        load_id,
        row_number() over (
            partition by poverty_year, person_token order by county_code asc, person_number asc
        ) as preference
    from poor_person
),

-- a token joins other feeds only where it comes from an ID number
roll as (
    select
        school_start_year,
        person_token,
        load_id
    from pupil
    where is_primary_roll and token_basis = 'id_number'
),

final as (
    select
        {{ surrogate_key(['ranked.poverty_year', 'ranked.person_token']) }} as poor_person_roll_key,
        ranked.person_key,
        ranked.poverty_year,
        ranked.person_token as poor_person_token,
        ranked.county_code,
        ranked.age_years,
        ranked.school_status,
        ranked.poverty_status,
        poverty_status.keeps_policies,
        roll.person_token as pupil_person_token,
        roll.person_token is not null as is_matched,
        case when roll.person_token is null then 'unmatched' else 'token' end as match_method,
        ranked.token_basis,
        roll.load_id as roll_load_id,
        ranked.load_id
    from ranked
    left join poverty_status on ranked.poverty_status = poverty_status.poverty_status
    left join roll
        on ranked.poverty_year = roll.school_start_year
        and ranked.person_token = roll.person_token
        and ranked.token_basis = 'id_number'
    where ranked.preference = 1
)

select * from final
