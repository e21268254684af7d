-- grain: one row per county × evaluation year × subgroup of semesters (all, spring, autumn): what was delivered for it
with

county_year as (select * from {{ ref('int_county_year') }}),
semester as (select * from {{ ref('dim_semester') }}),
coverage as (select * from {{ ref('int_feed_coverage') }}),

term_subgroup as (
    select 'all' as subgroup
    union all
    select 'spring' as subgroup
    union all
    select 'autumn' as subgroup
),

frame as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        term_subgroup.subgroup
    from county_year
    cross join term_subgroup
),

delivered as (
    select
        frame.county_code,
        frame.evaluation_year,
        frame.subgroup,
        count(distinct semester.semester_code) as semester_count,
        count(distinct case when coverage.feed = 'pupil' then semester.semester_code end) as pupil_count,
        count(distinct case when coverage.feed = 'poor_person' then semester.semester_code end) as poor_person_count,
        count(distinct case when coverage.feed = 'aid_recognition' then semester.semester_code end)
            as recognition_count,
        count(distinct case when coverage.feed = 'aid_payment' then semester.semester_code end) as payment_count,
        count(distinct case when coverage.feed = 'policy_document' then semester.semester_code end) as document_count
    from frame
    inner join semester
        on frame.evaluation_year = semester.evaluation_year
        and frame.subgroup in ('all', semester.term)
        and semester.is_in_scope
    left join coverage
        on frame.county_code = coverage.county_code
        and (
            (coverage.feed = 'pupil' and semester.school_start_year = coverage.coverage_year)
            or (coverage.feed = 'poor_person' and semester.poverty_year = coverage.coverage_year)
            or (
                coverage.feed in ('aid_recognition', 'aid_payment', 'policy_document')
                and semester.evaluation_year = coverage.coverage_year
            )
        )
    group by frame.county_code, frame.evaluation_year, frame.subgroup
),

-- a semester before the first register is no semester of ours: nothing was delivered for it
final as (
    select
        frame.county_code,
        frame.evaluation_year,
        frame.subgroup,
        coalesce(delivered.semester_count, 0) as semester_count,
        coalesce(delivered.pupil_count = delivered.semester_count, false)
        and coalesce(delivered.poor_person_count = delivered.semester_count, false) as has_poor_pupil,
        coalesce(delivered.recognition_count = delivered.semester_count, false) as has_aid_recognition,
        coalesce(delivered.payment_count = delivered.semester_count, false) as has_aid_payment,
        coalesce(delivered.document_count = delivered.semester_count, false) as has_policy_document
    from frame
    left join delivered
        on frame.county_code = delivered.county_code
        and frame.evaluation_year = delivered.evaluation_year
        and frame.subgroup = delivered.subgroup
)

select * from final
