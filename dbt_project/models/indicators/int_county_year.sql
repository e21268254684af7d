-- grain: one row per current county × evaluation year, with the feeds that were delivered for it
with

area as (select * from {{ ref('dim_area') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),
coverage as (select * from {{ ref('int_feed_coverage') }}),

county as (
    select
        area_code as county_code,
        is_plan_county,
        is_preschool_priority_county
    from area
    where area_level = 'county' and is_current
),

frame as (
    select
        county.county_code,
        county.is_plan_county,
        county.is_preschool_priority_county,
        evaluation_year.evaluation_year,
        evaluation_year.school_start_year,
        evaluation_year.stock_snapshot_date
    from county
    cross join evaluation_year
),

delivered as (
    select
        frame.county_code,
        frame.evaluation_year,
        max(case when coverage.feed = 'pupil' then 1 else 0 end) as pupil_years,
        max(case when coverage.feed = 'poor_person' then 1 else 0 end) as poor_person_years,
        max(case when coverage.feed = 'disabled_child' then 1 else 0 end) as disabled_child_years
    from frame
    inner join coverage
        on frame.county_code = coverage.county_code and frame.school_start_year = coverage.coverage_year
    group by frame.county_code, frame.evaluation_year
),

-- a cohort needs the statistics of nine school years, from its first grade to its ninth
cohort_years as (
    select
        frame.county_code,
        frame.evaluation_year,
        count(*) as enrollment_years,
        max(case when coverage.coverage_year = frame.school_start_year then 1 else 0 end) as this_year,
        max(case when coverage.coverage_year = frame.school_start_year - 8 then 1 else 0 end) as first_grade_year
    from frame
    inner join coverage
        on frame.county_code = coverage.county_code
        and coverage.coverage_year between frame.school_start_year - 8 and frame.school_start_year
    where coverage.feed = 'enrollment_count'
    group by frame.county_code, frame.evaluation_year
),

final as (
    select
        frame.county_code,
        frame.evaluation_year,
        frame.school_start_year,
        frame.stock_snapshot_date,
        frame.is_plan_county,
        frame.is_preschool_priority_county,
        coalesce(delivered.pupil_years, 0) = 1 as has_pupil,
        coalesce(delivered.poor_person_years, 0) = 1 as has_poor_person,
        coalesce(delivered.disabled_child_years, 0) = 1 as has_disabled_child,
        coalesce(cohort_years.this_year, 0) = 1 as has_enrollment,
        coalesce(cohort_years.first_grade_year, 0) = 1 as has_first_grade_enrollment,
        coalesce(cohort_years.enrollment_years, 0) = 9 as has_cohort_enrollment
    from frame
    left join delivered
        on frame.county_code = delivered.county_code and frame.evaluation_year = delivered.evaluation_year
    left join cohort_years
        on frame.county_code = cohort_years.county_code and frame.evaluation_year = cohort_years.evaluation_year
)

select * from final
