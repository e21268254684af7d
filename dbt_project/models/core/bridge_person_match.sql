-- grain: one row per poverty year × registered-poor person: which pupil of the school year that begins in it this is
with

poor_person as (select * from {{ ref('stg_poor_person') }}),
pupil as (select * from {{ ref('stg_pupil') }}),
recognition as (select * from {{ ref('stg_aid_recognition') }}),
pair as (select * from {{ ref('stg_person_pair') }}),

poor as (
    select
        poverty_year,
        person_token,
        min(load_id) as load_id
    from poor_person
    where person_token is not null
    group by poverty_year, person_token
),

-- colleges have no register here: who is recognized for aid in a semester studies; the spring belongs to the school
-- year that began the year before. One row per person: on how many rolls does not matter
on_roll as (
    select
        school_start_year,
        person_token
    from pupil
    where person_token is not null
    union
    select
        case when term = 'spring' then aid_year - 1 else aid_year end as school_start_year,
        person_token
    from recognition
    where person_token is not null and stage = 'higher'
),

-- a pair is worth what the rolls still say: a pupil who left them, or has a list entry of his own by now, is no match
standing as (
    select
        pair.*,
        row_number() over (
            partition by pair.poverty_year, pair.poor_person_token
            order by pair.preference asc, pair.pupil_person_token asc
        ) as standing_preference
    from pair
    inner join on_roll
        on pair.poverty_year = on_roll.school_start_year
        and pair.pupil_person_token = on_roll.person_token
    left join poor as own_entry
        on pair.poverty_year = own_entry.poverty_year
        and pair.pupil_person_token = own_entry.person_token
    where own_entry.person_token is null
),

best as (select * from standing where standing_preference = 1),

-- numbers speak first, then what was matched by score or decision; what is held for review is no match
final as (
    select
        poor.poverty_year,
        poor.person_token as poor_person_token,
        case
            when on_roll.person_token is not null then on_roll.person_token
            when best.match_status = 'matched' then best.pupil_person_token
        end as pupil_person_token,
        cast(case
            when on_roll.person_token is not null then 'token'
            else coalesce(best.match_method, 'unmatched')
        end as {{ dbt.type_string() }}) as match_method,
        cast(case
            when on_roll.person_token is not null then 1
            else best.match_score
        end as numeric(5, 4)) as match_score,
        cast(case
            when on_roll.person_token is not null then 'matched'
            else coalesce(best.match_status, 'unmatched')
        end as {{ dbt.type_string() }}) as match_status,
        case when on_roll.person_token is null then best.case_number end as case_number,
        poor.load_id
    from poor
    left join on_roll
        on poor.poverty_year = on_roll.school_start_year
        and poor.person_token = on_roll.person_token
    left join best
        on poor.poverty_year = best.poverty_year
        and poor.person_token = best.poor_person_token
)

select * from final
