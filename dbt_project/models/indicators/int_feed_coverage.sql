-- grain: one row per feed × county × year that the feed has rows for; what is absent here is not measurable
with

enrollment as (select * from {{ ref('fct_school_enrollment') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
poor_person as (select * from {{ ref('fct_poverty_person') }}),
disabled_child as (select * from {{ ref('fct_disabled_child') }}),
aid_recognition as (select * from {{ ref('fct_aid_recognition') }}),
aid_payment as (select * from {{ ref('fct_aid_payment') }}),
student_loan as (select * from {{ ref('fct_student_loan') }}),
fund_flow as (select * from {{ ref('fct_fund_flow') }}),
document as (select * from {{ ref('fct_org_document') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),
school as (select * from {{ ref('fct_school_register') }}),
care as (select * from {{ ref('fct_care_record') }}),
nutrition as (select * from {{ ref('fct_nutrition_month') }}),
insurance as (select * from {{ ref('fct_insurance') }}),
area as (select * from {{ ref('dim_area') }}),

-- one file for the whole region: a county that it does not name has none of what it lists
regional as (
    select
        'student_loan' as feed,
        aid_year as coverage_year,
        count(*) as row_count
    from student_loan
    group by aid_year
    union all
    select
        'fund_ledger' as feed,
        fiscal_year as coverage_year,
        count(*) as row_count
    from fund_flow
    group by fiscal_year
    union all
    -- documents hold for years: a year without new ones is measured by the earlier ones
    select
        'policy_document' as feed,
        evaluation_year.evaluation_year as coverage_year,
        count(*) as row_count
    from evaluation_year
    cross join document
    group by evaluation_year.evaluation_year
    union all
    select
        'nutrition_month' as feed,
        aid_year as coverage_year,
        count(*) as row_count
    from nutrition
    group by aid_year
    union all
    select
        'liability_insurance' as feed,
        policy_year as coverage_year,
        count(*) as row_count
    from insurance
    group by policy_year
),

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
    union all
    select
        'aid_recognition' as feed,
        county_code,
        aid_year as coverage_year,
        count(*) as row_count
    from aid_recognition
    group by county_code, aid_year
    union all
    select
        'aid_payment' as feed,
        county_code,
        aid_year as coverage_year,
        count(*) as row_count
    from aid_payment
    group by county_code, aid_year
    union all
    select
        'school' as feed,
        county_code,
        school_start_year as coverage_year,
        count(*) as row_count
    from school
    group by county_code, school_start_year
    union all
    select
        'care_record' as feed,
        county_code,
        aid_year as coverage_year,
        count(*) as row_count
    from care
    group by county_code, aid_year
    union all
    select
        regional.feed,
        area.area_code as county_code,
        regional.coverage_year,
        regional.row_count
    from regional
    cross join area
    where area.area_level = 'county' and area.is_current
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
