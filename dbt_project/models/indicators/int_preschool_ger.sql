-- grain: one row per county × evaluation year × population basis: three-year pre-primary gross enrollment ratio
with

county_year as (select * from {{ ref('int_county_year') }}),
enrollment as (select * from {{ ref('fct_school_enrollment') }}),
grade as (select * from {{ ref('dim_grade') }}),
population as (select * from {{ ref('fct_population_age') }}),
population_used as (select * from {{ ref('bridge_evaluation_year_population') }}),

-- where the child is taught, all ages; nursery classes (under three) do not count
pupils as (
    select
        enrollment.county_code,
        enrollment.school_start_year,
        sum(enrollment.enrollment_count) as pupil_count,
        {{ sorted_list('enrollment.load_id') }} as load_ids
    from enrollment
    inner join grade on enrollment.grade_code = grade.grade_code
    where
        enrollment.stage_code = 'preschool'
        {%- if var('exclude_nursery_classes') %}
            and not grade.is_nursery
        {%- endif %}
    group by enrollment.county_code, enrollment.school_start_year
),

children as (
    select
        population.county_code,
        population_used.evaluation_year,
        population_used.population_basis,
        sum(population.person_count) as child_count,
        {{ sorted_list('population.load_id') }} as load_ids
    from population
    inner join population_used
        on population.reference_year = population_used.evaluation_year
        and population.population_basis = population_used.population_basis
        and population.population_vintage = population_used.population_vintage
    where population.age_years between {{ var('preschool_age_from') }} and {{ var('preschool_age_to') }}
    group by population.county_code, population_used.evaluation_year, population_used.population_basis
),

final as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        population_used.population_basis as basis,
        county_year.is_plan_county,
        county_year.is_preschool_priority_county,
        cast(case when county_year.has_enrollment then coalesce(pupils.pupil_count, 0) end as numeric(38, 0))
            as numerator,
        cast(children.child_count as numeric(38, 0)) as denominator,
        coalesce(pupils.load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(children.load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_year
    inner join population_used on county_year.evaluation_year = population_used.evaluation_year
    left join pupils
        on county_year.county_code = pupils.county_code
        and county_year.school_start_year = pupils.school_start_year
    left join children
        on county_year.county_code = children.county_code
        and county_year.evaluation_year = children.evaluation_year
        and population_used.population_basis = children.population_basis
)

select * from final
