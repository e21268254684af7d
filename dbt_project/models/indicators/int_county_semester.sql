-- grain: one row per current county × semester in scope, with the feeds that were delivered for it
with

county_year as (select * from {{ ref('int_county_year') }}),
semester as (select * from {{ ref('dim_semester') }}),
coverage as (select * from {{ ref('int_feed_coverage') }}),

frame as (
    select
        county_year.county_code,
        semester.evaluation_year,
        semester.semester_code,
        semester.term,
        semester.school_start_year,
        semester.poverty_year
    from county_year
    inner join semester on county_year.evaluation_year = semester.evaluation_year
    where semester.is_in_scope
),

-- the roll of a spring is the register of the autumn before, its list that of the year before
delivered as (
    select
        frame.county_code,
        frame.semester_code,
        max(case when coverage.feed = 'pupil' then 1 else 0 end) as has_pupil,
        max(case when coverage.feed = 'poor_person' then 1 else 0 end) as has_poor_person,
        max(case when coverage.feed = 'aid_recognition' then 1 else 0 end) as has_aid_recognition,
        max(case when coverage.feed = 'aid_payment' then 1 else 0 end) as has_aid_payment,
        max(case when coverage.feed = 'policy_document' then 1 else 0 end) as has_policy_document
    from frame
    inner join coverage
        on frame.county_code = coverage.county_code
        and coverage.coverage_year = case coverage.feed
            when 'pupil' then frame.school_start_year
            when 'poor_person' then frame.poverty_year
            else frame.evaluation_year
        end
    group by frame.county_code, frame.semester_code
),

final as (
    select
        frame.county_code,
        frame.semester_code,
        frame.evaluation_year,
        frame.term,
        coalesce(delivered.has_pupil = 1, false) as has_pupil,
        coalesce(delivered.has_poor_person = 1, false) as has_poor_person,
        coalesce(delivered.has_aid_recognition = 1, false) as has_aid_recognition,
        coalesce(delivered.has_aid_payment = 1, false) as has_aid_payment,
        coalesce(delivered.has_policy_document = 1, false) as has_policy_document
    from frame
    left join delivered
        on frame.county_code = delivered.county_code and frame.semester_code = delivered.semester_code
)

select * from final
