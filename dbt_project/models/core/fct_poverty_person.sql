-- grain: one row per poverty year × county × person number (poverty register at 31 December)
with

poor_person as (select * from {{ ref('stg_poor_person') }}),
member as (select * from {{ ref('bridge_household_member') }}),
poverty_status as (select * from {{ ref('poverty_statuses') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

final as (
    select
        {{ surrogate_key(['poor_person.poverty_year', 'poor_person.county_code', 'poor_person.person_number']) }}
            as poverty_person_key,
        member.person_key,
        member.household_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        poor_person.poverty_year,
        coalesce(area.current_county_code, substr(poor_person.village_code, 1, 6)) as county_code,
        poor_person.county_code as reported_county_code,
        poor_person.village_code,
        poor_person.household_number,
        poor_person.person_number,
        poor_person.person_token,
        poor_person.token_basis,
        poor_person.sex_code,
        {{ age_on('poor_person.birth_date', 'school_year.snapshot_date') }} as age_years,
        poor_person.school_status,
        poor_person.out_of_school_reason,
        poor_person.poverty_status,
        coalesce(poverty_status.is_exited, false) as is_exited,
        poor_person.exit_year,
        poor_person.load_id
    from poor_person
    inner join member
        on poor_person.poverty_year = member.poverty_year
        and poor_person.county_code = member.county_code
        and poor_person.person_number = member.person_number
    left join poverty_status on poor_person.poverty_status = poverty_status.poverty_status
    inner join school_year on poor_person.poverty_year = school_year.school_start_year
    left join area on poor_person.village_code = area.from_area_code
)

select * from final
