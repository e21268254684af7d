-- grain: one row per poverty year × county × person number: which household the person belongs to at year end
with

poor_person as (select * from {{ ref('stg_poor_person') }}),
household as (select * from {{ ref('dim_household') }}),

final as (
    select
        coalesce(household.household_key, {{ unknown_key() }}) as household_key,
        case
            when poor_person.person_token is null then {{ unknown_key() }}
            else {{ surrogate_key(['poor_person.person_token']) }}
        end as person_key,
        poor_person.poverty_year,
        poor_person.county_code,
        poor_person.person_number,
        poor_person.household_number,
        poor_person.relation_to_head,
        poor_person.load_id
    from poor_person
    left join household
        on poor_person.county_code = household.county_code
        and poor_person.household_number = household.household_number
        and poor_person.poverty_year >= household.valid_from_year
        and poor_person.poverty_year < coalesce(household.valid_to_year, 9999)
)

select * from final
