-- grain: one row per poverty year × registered-poor person, with the pupil that they are matched to
with

poor_person as (select * from {{ ref('fct_poverty_person') }}),
person_match as (select * from {{ ref('bridge_person_match') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
poverty_status as (select * from {{ ref('poverty_statuses') }}),

-- a person on two rows of one list (moved, or entered twice) is one person
ranked as (
    select
        person_key,
        poverty_year,
        person_token,
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

roll as (
    select
        school_start_year,
        person_token,
        load_id
    from pupil
    where is_primary_roll
),

-- a pair may lead to a college, which keeps no register: matched means here that a school's roll has the person
final as (
    select
        {{ surrogate_key(['ranked.poverty_year', 'ranked.person_token']) }} as poor_person_roll_key,
        ranked.person_key,
        ranked.poverty_year,
        ranked.person_token as poor_person_token,
        coalesce(person_match.pupil_person_token, ranked.person_token) as known_person_token,
        ranked.county_code,
        ranked.age_years,
        ranked.school_status,
        ranked.poverty_status,
        poverty_status.keeps_policies,
        roll.person_token is not null as is_on_roll,
        coalesce(person_match.match_method, 'unmatched') as match_method,
        roll.load_id as roll_load_id,
        ranked.load_id
    from ranked
    left join poverty_status on ranked.poverty_status = poverty_status.poverty_status
    left join person_match
        on ranked.poverty_year = person_match.poverty_year
        and ranked.person_token = person_match.poor_person_token
    left join roll
        on person_match.poverty_year = roll.school_start_year
        and person_match.pupil_person_token = roll.person_token
    where ranked.preference = 1
)

select * from final
