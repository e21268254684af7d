-- grain: one row per county × evaluation year × subgroup of semesters (all, spring, autumn): what was delivered for it
with

county_year as (select * from {{ ref('int_county_year') }}),
county_semester as (select * from {{ ref('int_county_semester') }}),

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

-- a semester before the first register is no semester of ours: nothing was delivered for it
final as (
    select
        frame.county_code,
        frame.evaluation_year,
        frame.subgroup,
        count(county_semester.semester_code) as semester_count,
        coalesce(
            min(case when county_semester.has_pupil and county_semester.has_poor_person then 1 else 0 end) = 1, false
        ) as has_poor_pupil,
        coalesce(min(case when county_semester.has_aid_recognition then 1 else 0 end) = 1, false)
            as has_aid_recognition,
        coalesce(min(case when county_semester.has_aid_payment then 1 else 0 end) = 1, false) as has_aid_payment,
        coalesce(min(case when county_semester.has_policy_document then 1 else 0 end) = 1, false)
            as has_policy_document
    from frame
    left join county_semester
        on frame.county_code = county_semester.county_code
        and frame.evaluation_year = county_semester.evaluation_year
        and frame.subgroup in ('all', county_semester.term)
    group by frame.county_code, frame.evaluation_year, frame.subgroup
)

select * from final
