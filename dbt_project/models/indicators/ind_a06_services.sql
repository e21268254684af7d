-- grain: one row per indicator × variant × county × evaluation year × subgroup × basis (action 6, meals and insurance)
with

county_year as (select * from {{ ref('int_county_year') }}),
coverage as (select * from {{ ref('int_feed_coverage') }}),
nutrition as (select * from {{ ref('fct_nutrition_month') }}),
insurance as (select * from {{ ref('fct_insurance') }}),
school as (select * from {{ ref('fct_school_register') }}),
enrollment as (select * from {{ ref('fct_school_enrollment') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),

frame as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        county_year.has_enrollment,
        county_year.has_pupil,
        meals_delivered.feed is not null as has_nutrition_month,
        insurance_delivered.feed is not null as has_liability_insurance,
        school_delivered.feed is not null as has_school
    from county_year
    left join coverage as meals_delivered
        on county_year.county_code = meals_delivered.county_code
        and county_year.evaluation_year = meals_delivered.coverage_year
        and meals_delivered.feed = 'nutrition_month'
    left join coverage as insurance_delivered
        on county_year.county_code = insurance_delivered.county_code
        and county_year.evaluation_year = insurance_delivered.coverage_year
        and insurance_delivered.feed = 'liability_insurance'
    left join coverage as school_delivered
        on county_year.county_code = school_delivered.county_code
        and county_year.school_start_year = school_delivered.coverage_year
        and school_delivered.feed = 'school'
),

-- A6.3: pupils fed, schools reached, and the money against meals served (in fen, a hundredth of a yuan)
meals as (
    select
        county_code,
        aid_year,
        sum(beneficiary_count) as fed_count,
        sum(pupil_count) as pupil_count,
        count(distinct school_code) as school_count,
        round(100 * sum(spent_yuan)) as spent_fen,
        round(100 * sum(meal_count * standard_yuan)) as due_fen,
        {{ sorted_list('load_id') }} as load_ids
    from nutrition
    group by county_code, aid_year
),

compulsory_school as (
    select
        county_code,
        school_start_year,
        count(distinct school_code) as school_count,
        {{ sorted_list('load_id') }} as load_ids
    from enrollment
    where stage_code in ('primary', 'junior') and enrollment_count > 0
    group by county_code, school_start_year
),

pupils_fed as (
    select
        'A6.3' as indicator_code,
        'pupils_fed' as variant,
        frame.county_code,
        frame.evaluation_year,
        case when frame.has_nutrition_month then coalesce(meals.fed_count, 0) end as numerator,
        case when frame.has_nutrition_month then coalesce(meals.pupil_count, 0) end as denominator,
        coalesce(meals.load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(meals.load_ids, {{ empty_list() }}) as denominator_load_ids
    from frame
    left join meals on frame.county_code = meals.county_code and frame.evaluation_year = meals.aid_year
),

schools_reached as (
    select
        'A6.3' as indicator_code,
        'schools_reached' as variant,
        frame.county_code,
        frame.evaluation_year,
        case when frame.has_nutrition_month then coalesce(meals.school_count, 0) end as numerator,
        case when frame.has_enrollment then coalesce(compulsory_school.school_count, 0) end as denominator,
        coalesce(meals.load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(compulsory_school.load_ids, {{ empty_list() }}) as denominator_load_ids
    from frame
    left join meals on frame.county_code = meals.county_code and frame.evaluation_year = meals.aid_year
    left join compulsory_school
        on frame.county_code = compulsory_school.county_code
        and frame.evaluation_year = compulsory_school.school_start_year
),

money_matched as (
    select
        'A6.3' as indicator_code,
        'money_matched' as variant,
        frame.county_code,
        frame.evaluation_year,
        case when frame.has_nutrition_month then coalesce(meals.spent_fen, 0) end as numerator,
        case when frame.has_nutrition_month then coalesce(meals.due_fen, 0) end as denominator,
        coalesce(meals.load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(meals.load_ids, {{ empty_list() }}) as denominator_load_ids
    from frame
    left join meals on frame.county_code = meals.county_code and frame.evaluation_year = meals.aid_year
),

-- A6.11: no-fault cover on 1 September and on 1 March, whatever year the policy was written for
cover_day as (
    select distinct  -- one row per year: the frame has one per county and year
        evaluation_year,
        stock_snapshot_date as autumn_date,
        cast({{ dbt.dateadd('month', 6, 'stock_snapshot_date') }} as date) as spring_date
    from county_year
),

cover as (
    select
        cover_day.evaluation_year,
        insurance.school_code,
        insurance.insured_count,
        case
            when cover_day.autumn_date between insurance.valid_from_date and insurance.valid_to_date then 1 else 0
        end as is_in_autumn,
        case
            when cover_day.spring_date between insurance.valid_from_date and insurance.valid_to_date then 1 else 0
        end as is_in_spring,
        insurance.load_id
    from insurance
    cross join cover_day
    where insurance.is_no_fault
),

insured_school as (
    select
        evaluation_year,
        school_code,
        sum(case when is_in_autumn = 1 then insured_count else 0 end) as insured_count,
        max(is_in_autumn) as is_covered_in_autumn,
        max(is_in_spring) as is_covered_in_spring,
        min(load_id) as first_load_id,
        max(load_id) as last_load_id
    from cover
    where is_in_autumn = 1 or is_in_spring = 1
    group by evaluation_year, school_code
),

open_school as (
    select
        school.county_code,
        school.school_start_year,
        school.load_id as school_load_id,
        coalesce(insured_school.is_covered_in_autumn = 1 and insured_school.is_covered_in_spring = 1, false)
            as is_insured,
        insured_school.first_load_id,
        insured_school.last_load_id
    from school
    left join insured_school
        on school.school_code = insured_school.school_code
        and school.school_start_year = insured_school.evaluation_year
    where
        school.category_code in ('preschool', 'primary', 'junior', 'senior', 'vocational', 'special')
        and not school.is_attached_class
        and not school.is_closed
),

open_school_count as (
    select
        county_code,
        school_start_year,
        sum(case when is_insured then 1 else 0 end) as insured_count,
        count(*) as school_count,
        {{ sorted_list('case when is_insured then first_load_id end') }} as first_load_ids,
        {{ sorted_list('case when is_insured then last_load_id end') }} as last_load_ids,
        {{ sorted_list('school_load_id') }} as school_load_ids
    from open_school
    group by county_code, school_start_year
),

schools_insured as (
    select
        'A6.11' as indicator_code,
        'schools_insured' as variant,
        frame.county_code,
        frame.evaluation_year,
        case
            when frame.has_liability_insurance and frame.has_school then coalesce(open_school_count.insured_count, 0)
        end as numerator,
        case when frame.has_school then coalesce(open_school_count.school_count, 0) end as denominator,
        {{ merged_list('open_school_count.first_load_ids', 'open_school_count.last_load_ids') }}
            as numerator_load_ids,
        coalesce(open_school_count.school_load_ids, {{ empty_list() }}) as denominator_load_ids
    from frame
    left join open_school_count
        on frame.county_code = open_school_count.county_code
        and frame.evaluation_year = open_school_count.school_start_year
),

-- a school insures no more pupils than it has
school_pupils as (
    select
        county_code,
        school_start_year,
        school_code,
        count(*) as pupil_count,
        min(load_id) as load_id
    from pupil
    where is_primary_roll
    group by county_code, school_start_year, school_code
),

insured_pupils as (
    select
        school_pupils.county_code,
        school_pupils.school_start_year,
        sum(
            case
                when insured_school.insured_count > school_pupils.pupil_count then school_pupils.pupil_count
                else coalesce(insured_school.insured_count, 0)
            end
        ) as insured_count,
        sum(school_pupils.pupil_count) as pupil_count,
        {{ sorted_list('case when insured_school.insured_count > 0 then insured_school.first_load_id end') }}
            as first_load_ids,
        {{ sorted_list('case when insured_school.insured_count > 0 then insured_school.last_load_id end') }}
            as last_load_ids,
        {{ sorted_list('school_pupils.load_id') }} as pupil_load_ids
    from school_pupils
    left join insured_school
        on school_pupils.school_code = insured_school.school_code
        and school_pupils.school_start_year = insured_school.evaluation_year
    group by school_pupils.county_code, school_pupils.school_start_year
),

pupils_insured as (
    select
        'A6.11' as indicator_code,
        'pupils_insured' as variant,
        frame.county_code,
        frame.evaluation_year,
        case
            when frame.has_liability_insurance and frame.has_pupil then coalesce(insured_pupils.insured_count, 0)
        end as numerator,
        case when frame.has_pupil then coalesce(insured_pupils.pupil_count, 0) end as denominator,
        {{ merged_list('insured_pupils.first_load_ids', 'insured_pupils.last_load_ids') }} as numerator_load_ids,
        coalesce(insured_pupils.pupil_load_ids, {{ empty_list() }}) as denominator_load_ids
    from frame
    left join insured_pupils
        on frame.county_code = insured_pupils.county_code
        and frame.evaluation_year = insured_pupils.school_start_year
),

together as (
    select * from pupils_fed
    union all
    select * from schools_reached
    union all
    select * from money_matched
    union all
    select * from schools_insured
    union all
    select * from pupils_insured
),

final as (
    select
        indicator_code,
        variant,
        county_code as area_code,
        evaluation_year,
        'all' as subgroup,
        'none' as basis,
        cast(numerator as numeric(38, 0)) as numerator,
        cast(denominator as numeric(38, 0)) as denominator,
        numerator_load_ids,
        denominator_load_ids
    from together
)

select * from final
