-- grain: one row per indicator × variant × county × evaluation year × subgroup × basis (action 1, pre-primary)
with

county_year as (select * from {{ ref('int_county_year') }}),
preschool_ger as (select * from {{ ref('int_preschool_ger') }}),
poor_person as (select * from {{ ref('fct_poverty_person') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
person_match as (select * from {{ ref('bridge_person_match') }}),

-- A1.3: the priority counties beside the other plan counties, resident population
a1_3 as (
    select
        'A1.3' as indicator_code,
        case when is_preschool_priority_county then 'ger3_priority' else 'ger3_comparison' end as variant,
        county_code,
        evaluation_year,
        basis,
        numerator,
        denominator,
        numerator_load_ids,
        denominator_load_ids
    from preschool_ger
    where is_plan_county and basis = 'resident'
),

-- A1.6: registered-poor children of pre-primary age who are, by number or by match, somebody on a pre-primary roll
ranked_roll as (
    select
        person_token,
        school_start_year,
        load_id,
        row_number() over (
            partition by person_token, school_start_year order by school_code asc, student_number_token asc
        ) as roll_number
    from pupil
    where stage_code = 'preschool'
),

preschool_roll as (select * from ranked_roll where roll_number = 1),

poor_child as (
    select
        poor_person.county_code,
        poor_person.poverty_year,
        case when preschool_roll.person_token is not null then 1 else 0 end as is_enrolled,
        poor_person.load_id as child_load_id,
        preschool_roll.load_id as roll_load_id
    from poor_person
    left join person_match
        on poor_person.person_token = person_match.poor_person_token
        and poor_person.poverty_year = person_match.poverty_year
        and person_match.match_status = 'matched'
    left join preschool_roll
        on person_match.pupil_person_token = preschool_roll.person_token
        and person_match.poverty_year = preschool_roll.school_start_year
    where poor_person.age_years between {{ var('preschool_age_from') }} and {{ var('preschool_age_to') }}
),

poor_child_count as (
    select
        county_code,
        poverty_year,
        sum(is_enrolled) as enrolled_count,
        count(*) as child_count,
        {{ sorted_list('case when is_enrolled = 1 then child_load_id end') }} as enrolled_load_ids,
        {{ sorted_list('roll_load_id') }} as roll_load_ids,
        {{ sorted_list('child_load_id') }} as child_load_ids
    from poor_child
    group by county_code, poverty_year
),

a1_6 as (
    select
        'A1.6' as indicator_code,
        'enrolled' as variant,
        county_year.county_code,
        county_year.evaluation_year,
        'none' as basis,
        case
            when county_year.has_poor_person and county_year.has_pupil
                then coalesce(poor_child_count.enrolled_count, 0)
        end as numerator,
        case when county_year.has_poor_person then coalesce(poor_child_count.child_count, 0) end as denominator,
        {{ merged_list('poor_child_count.enrolled_load_ids', 'poor_child_count.roll_load_ids') }}
            as numerator_load_ids,
        coalesce(poor_child_count.child_load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_year
    left join poor_child_count
        on county_year.county_code = poor_child_count.county_code
        and county_year.evaluation_year = poor_child_count.poverty_year
),

together as (
    select * from a1_3
    union all
    select * from a1_6
),

final as (
    select
        indicator_code,
        variant,
        county_code as area_code,
        evaluation_year,
        'all' as subgroup,
        basis,
        cast(numerator as numeric(38, 0)) as numerator,
        cast(denominator as numeric(38, 0)) as denominator,
        numerator_load_ids,
        denominator_load_ids
    from together
)

select * from final
