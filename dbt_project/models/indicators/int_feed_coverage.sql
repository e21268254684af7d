-- grain: one row per feed × county × year that the feed has rows for; what is absent here is not measurable
with

enrollment as (select * from {{ ref('fct_school_enrollment') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
poor_person as (select * from {{ ref('fct_poverty_person') }}),
disabled_child as (select * from {{ ref('fct_disabled_child') }}),

counted as (
    select
        'enrollment_count' as feed,
        county_code,
        school_start_year as coverage_year,
        count(*) as row_count
    from enrollment
    group by county_code, school_start_year
    union all
    select
        'pupil' as feed,
        county_code,
        school_start_year as coverage_year,
        count(*) as row_count
    from pupil
    group by county_code, school_start_year
    union all
    select
        'poor_person' as feed,
        reported_county_code as county_code,
        poverty_year as coverage_year,
        count(*) as row_count
    from poor_person
    group by reported_county_code, poverty_year
    union all
    select
        'disabled_child' as feed,
        county_code,
        reference_year as coverage_year,
        count(*) as row_count
    from disabled_child
    group by county_code, reference_year
),

final as (
    select
        {{ surrogate_key(['feed', 'county_code', 'coverage_year']) }} as feed_coverage_key,
        feed,
        county_code,
        coverage_year,
        row_count
    from counted
)

select * from final
