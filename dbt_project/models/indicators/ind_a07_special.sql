-- grain: one row per indicator × variant × county × evaluation year × subgroup × basis (action 7, children in need)
with

county_year as (select * from {{ ref('int_county_year') }}),
coverage as (select * from {{ ref('int_feed_coverage') }}),
school as (select * from {{ ref('fct_school_register') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
disabled_child as (select * from {{ ref('fct_disabled_child') }}),
care as (select * from {{ ref('fct_care_record') }}),
payment as (select * from {{ ref('fct_aid_payment') }}),
person_match as (select * from {{ ref('bridge_person_match') }}),
semester as (select * from {{ ref('dim_semester') }}),

-- a child has its home in one county and its care file in another: whoever delivers files, they hold for all counties
care_year as (
    select distinct coverage_year  -- one row per year: coverage has one per county
    from coverage
    where feed = 'care_record'
),

frame as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        county_year.has_pupil,
        county_year.has_disabled_child,
        school_delivered.feed is not null as has_school,
        care_delivered.feed is not null as has_care_record,
        care_year.coverage_year is not null as has_care_anywhere
    from county_year
    left join coverage as school_delivered
        on county_year.county_code = school_delivered.county_code
        and county_year.school_start_year = school_delivered.coverage_year
        and school_delivered.feed = 'school'
    left join coverage as care_delivered
        on county_year.county_code = care_delivered.county_code
        and county_year.evaluation_year = care_delivered.coverage_year
        and care_delivered.feed = 'care_record'
    left join care_year on county_year.evaluation_year = care_year.coverage_year
),

term_subgroup as (
    select 'all' as subgroup
    union all
    select 'spring' as subgroup
    union all
    select 'autumn' as subgroup
),

payment_year as (
    select distinct coverage_year  -- one row per year: coverage has one per county
    from coverage
    where feed = 'aid_payment'
),

-- what was delivered for the semesters of a subgroup; a spring before the first register has none
term_frame as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        term_subgroup.subgroup,
        min(case when pupil_delivered.feed is not null then 1 else 0 end) as has_pupil,
        min(case when list_delivered.feed is not null then 1 else 0 end) as has_disabled_child,
        min(case when poor_delivered.feed is not null then 1 else 0 end) as has_poor_person,
        max(case when care_year.coverage_year is not null then 1 else 0 end) as has_care_anywhere,
        max(case when payment_year.coverage_year is not null then 1 else 0 end) as has_payment_anywhere
    from county_year
    cross join term_subgroup
    left join semester
        on county_year.evaluation_year = semester.evaluation_year
        and term_subgroup.subgroup in ('all', semester.term)
        and semester.is_in_scope
    left join coverage as pupil_delivered
        on county_year.county_code = pupil_delivered.county_code
        and semester.school_start_year = pupil_delivered.coverage_year
        and pupil_delivered.feed = 'pupil'
    left join coverage as list_delivered
        on county_year.county_code = list_delivered.county_code
        and semester.school_start_year = list_delivered.coverage_year
        and list_delivered.feed = 'disabled_child'
    left join coverage as poor_delivered
        on county_year.county_code = poor_delivered.county_code
        and semester.poverty_year = poor_delivered.coverage_year
        and poor_delivered.feed = 'poor_person'
    left join care_year on semester.evaluation_year = care_year.coverage_year
    left join payment_year on semester.evaluation_year = payment_year.coverage_year
    group by county_year.county_code, county_year.evaluation_year, term_subgroup.subgroup
),

-- A7.2: an open special school, or a special class attached to another school
special_school as (
    select
        county_code,
        school_start_year,
        {{ sorted_list('load_id') }} as load_ids
    from school
    where has_special_education and not is_closed
    group by county_code, school_start_year
),

school_list as (
    select
        county_code,
        school_start_year,
        {{ sorted_list('load_id') }} as load_ids
    from school
    group by county_code, school_start_year
),

a7_2 as (
    select
        'A7.2' as indicator_code,
        'county_has' as variant,
        frame.county_code,
        frame.evaluation_year,
        'all' as subgroup,
        case when frame.has_school then case when special_school.county_code is not null then 1 else 0 end end
            as numerator,
        1 as denominator,
        coalesce(special_school.load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(school_list.load_ids, {{ empty_list() }}) as denominator_load_ids
    from frame
    left join special_school
        on frame.county_code = special_school.county_code
        and frame.evaluation_year = special_school.school_start_year
    left join school_list
        on frame.county_code = school_list.county_code and frame.evaluation_year = school_list.school_start_year
),

-- a pupil counts as disabled where the school's register or the list of disabled children of the year says so
listed_disability as (
    select
        reference_year,
        person_token,
        min(load_id) as load_id
    from disabled_child
    where token_basis = 'id_number'
    group by reference_year, person_token
),

disabled_pupil as (
    select
        pupil.person_token,
        pupil.school_start_year,
        pupil.home_county_code,
        pupil.stage_code,
        pupil.grade_code,
        pupil.age_years,
        pupil.enrolled_on_date,
        pupil.load_id,
        listed_disability.load_id as list_load_id
    from pupil
    left join listed_disability
        on pupil.person_token = listed_disability.person_token
        and pupil.school_start_year = listed_disability.reference_year
        and pupil.token_basis = 'id_number'
    where
        pupil.is_primary_roll
        and (pupil.disability_code <> '0' or listed_disability.person_token is not null)
),

-- A7.5: those who enter school this year, and of them those who do so at the usual age
entrant as (
    select
        home_county_code,
        school_start_year,
        case when age_years <= {{ var('timely_entry_age_to') }} then 1 else 0 end as is_timely,
        load_id
    from disabled_pupil
    where
        (stage_code = 'primary' and grade_code = 'P1')
        or (stage_code = 'special' and extract(year from enrolled_on_date) = school_start_year)
),

entrant_count as (
    select
        home_county_code,
        school_start_year,
        sum(is_timely) as timely_count,
        count(*) as entrant_count,
        {{ sorted_list('case when is_timely = 1 then load_id end') }} as timely_load_ids,
        {{ sorted_list('load_id') }} as load_ids
    from entrant
    group by home_county_code, school_start_year
),

timely_entry as (
    select
        'A7.5' as indicator_code,
        'timely_entry' as variant,
        frame.county_code,
        frame.evaluation_year,
        'all' as subgroup,
        case when frame.has_pupil and frame.has_disabled_child then coalesce(entrant_count.timely_count, 0) end
            as numerator,
        case when frame.has_pupil and frame.has_disabled_child then coalesce(entrant_count.entrant_count, 0) end
            as denominator,
        coalesce(entrant_count.timely_load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(entrant_count.load_ids, {{ empty_list() }}) as denominator_load_ids
    from frame
    left join entrant_count
        on frame.county_code = entrant_count.home_county_code
        and frame.evaluation_year = entrant_count.school_start_year
),

rehabilitation_count as (
    select
        county_code,
        reference_year,
        sum(case when is_in_rehabilitation then 1 else 0 end) as rehabilitated_count,
        count(*) as child_count,
        {{ sorted_list('case when is_in_rehabilitation then load_id end') }} as rehabilitated_load_ids,
        {{ sorted_list('load_id') }} as load_ids
    from disabled_child
    where is_in_rehabilitation is not null
    group by county_code, reference_year
),

in_rehabilitation as (
    select
        'A7.5' as indicator_code,
        'in_rehabilitation' as variant,
        frame.county_code,
        frame.evaluation_year,
        'all' as subgroup,
        case when frame.has_disabled_child then coalesce(rehabilitation_count.rehabilitated_count, 0) end
            as numerator,
        case when frame.has_disabled_child then coalesce(rehabilitation_count.child_count, 0) end as denominator,
        coalesce(rehabilitation_count.rehabilitated_load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(rehabilitation_count.load_ids, {{ empty_list() }}) as denominator_load_ids
    from frame
    left join rehabilitation_count
        on frame.county_code = rehabilitation_count.county_code
        and frame.evaluation_year = rehabilitation_count.reference_year
),

-- A7.6: disabled pupils with any payment of the semester, by the register behind the semester
paid_person as (
    select
        person_token,
        aid_year,
        term,
        min(load_id) as load_id
    from payment
    where not is_reversed and amount_yuan > 0
    group by person_token, aid_year, term
),

disabled_in_term as (
    select
        disabled_pupil.home_county_code,
        semester.evaluation_year,
        semester.term,
        case when paid_person.person_token is not null then 1 else 0 end as is_reached,
        disabled_pupil.load_id,
        paid_person.load_id as reached_load_id
    from disabled_pupil
    inner join semester on disabled_pupil.school_start_year = semester.school_start_year and semester.is_in_scope
    left join paid_person
        on disabled_pupil.person_token = paid_person.person_token
        and semester.evaluation_year = paid_person.aid_year
        and semester.term = paid_person.term
),

-- A7.7: left-behind pupils of registered-poor households with an open care file and a visit in the semester
poor_pupil as (
    select distinct  -- one row per pupil: two persons of the list may lead to one
        poverty_year,
        pupil_person_token
    from person_match
    where match_status = 'matched'
),

tracked_child as (
    select
        care.person_token,
        care.aid_year,
        care.term,
        min(care.load_id) as load_id
    from care
    inner join semester on care.aid_year = semester.evaluation_year and care.term = semester.term
    where
        care.child_kind = 'left_behind'
        and care.visit_count >= 1
        and care.opened_date <= semester.end_date
        and (care.closed_date is null or care.closed_date > semester.cut_off_date)
    group by care.person_token, care.aid_year, care.term
),

left_behind_in_term as (
    select
        pupil.home_county_code,
        semester.evaluation_year,
        semester.term,
        case when tracked_child.person_token is not null then 1 else 0 end as is_reached,
        pupil.load_id,
        tracked_child.load_id as reached_load_id
    from pupil
    inner join semester on pupil.school_start_year = semester.school_start_year and semester.is_in_scope
    inner join poor_pupil
        on pupil.person_token = poor_pupil.pupil_person_token
        and semester.poverty_year = poor_pupil.poverty_year
    left join tracked_child
        on pupil.person_token = tracked_child.person_token
        and semester.evaluation_year = tracked_child.aid_year
        and semester.term = tracked_child.term
    where pupil.is_primary_roll and pupil.left_behind_code in ('1', '2')
),

pupil_in_term as (
    select
        'A7.6' as indicator_code,
        'aided' as variant,
        disabled_in_term.*
    from disabled_in_term
    union all
    select
        'A7.7' as indicator_code,
        'tracked' as variant,
        left_behind_in_term.*
    from left_behind_in_term
),

pupil_in_term_count as (
    select
        pupil_in_term.indicator_code,
        pupil_in_term.home_county_code,
        pupil_in_term.evaluation_year,
        term_subgroup.subgroup,
        sum(pupil_in_term.is_reached) as reached_count,
        count(*) as pupil_count,
        {{ sorted_list('case when pupil_in_term.is_reached = 1 then pupil_in_term.load_id end') }}
            as reached_roll_load_ids,
        {{ sorted_list('pupil_in_term.reached_load_id') }} as reached_load_ids,
        {{ sorted_list('pupil_in_term.load_id') }} as load_ids
    from pupil_in_term
    inner join term_subgroup on term_subgroup.subgroup in ('all', pupil_in_term.term)
    group by
        pupil_in_term.indicator_code, pupil_in_term.home_county_code, pupil_in_term.evaluation_year,
        term_subgroup.subgroup
),

term_indicator as (
    select
        'A7.6' as indicator_code,
        'aided' as variant,
        county_code,
        evaluation_year,
        subgroup,
        has_pupil = 1 and has_disabled_child = 1 as has_base,
        has_payment_anywhere = 1 as has_reached
    from term_frame
    union all
    select
        'A7.7' as indicator_code,
        'tracked' as variant,
        county_code,
        evaluation_year,
        subgroup,
        has_pupil = 1 and has_poor_person = 1 as has_base,
        has_care_anywhere = 1 as has_reached
    from term_frame
),

a7_6_and_7 as (
    select
        term_indicator.indicator_code,
        term_indicator.variant,
        term_indicator.county_code,
        term_indicator.evaluation_year,
        term_indicator.subgroup,
        case
            when term_indicator.has_base and term_indicator.has_reached
                then coalesce(pupil_in_term_count.reached_count, 0)
        end as numerator,
        case when term_indicator.has_base then coalesce(pupil_in_term_count.pupil_count, 0) end as denominator,
        {{ merged_list('pupil_in_term_count.reached_roll_load_ids', 'pupil_in_term_count.reached_load_ids') }}
            as numerator_load_ids,
        coalesce(pupil_in_term_count.load_ids, {{ empty_list() }}) as denominator_load_ids
    from term_indicator
    left join pupil_in_term_count
        on term_indicator.indicator_code = pupil_in_term_count.indicator_code
        and term_indicator.county_code = pupil_in_term_count.home_county_code
        and term_indicator.evaluation_year = pupil_in_term_count.evaluation_year
        and term_indicator.subgroup = pupil_in_term_count.subgroup
),

-- A7.8: children with a care file who asked to board, in either term of the year; of files in two counties the first
-- county's is named as the source, whatever was loaded first
ranked_care as (
    select
        care.*,
        row_number() over (
            partition by aid_year, person_token order by county_code asc, term asc, school_code asc
        ) as preference
    from care
    where person_token is not null
),

care_child as (
    select
        aid_year,
        person_token,
        max(case when child_kind = 'left_behind' then 1 else 0 end) as is_left_behind,
        max(case when asked_boarding then 1 else 0 end) as has_asked,
        max(case when asked_boarding and granted_boarding then 1 else 0 end) as is_granted,
        min(county_code) as school_county_code,
        max(case when preference = 1 then load_id end) as load_id
    from ranked_care
    group by aid_year, person_token
),

boarding_applicant as (
    select
        care_child.aid_year,
        case when care_child.is_left_behind = 1 then 'left_behind' else 'others' end as variant,
        coalesce(this_roll.home_county_code, last_roll.home_county_code, care_child.school_county_code)
            as home_county_code,
        care_child.is_granted,
        care_child.load_id
    from care_child
    left join pupil as this_roll
        on care_child.person_token = this_roll.person_token
        and care_child.aid_year = this_roll.school_start_year
        and this_roll.is_primary_roll
    left join pupil as last_roll
        on care_child.person_token = last_roll.person_token
        and care_child.aid_year - 1 = last_roll.school_start_year
        and last_roll.is_primary_roll
    where care_child.has_asked = 1
),

boarding_variant as (
    select 'left_behind' as variant
    union all
    select 'others' as variant
),

boarding_count as (
    select
        variant,
        home_county_code,
        aid_year,
        sum(is_granted) as granted_count,
        count(*) as applicant_count,
        {{ sorted_list('case when is_granted = 1 then load_id end') }} as granted_load_ids,
        {{ sorted_list('load_id') }} as load_ids
    from boarding_applicant
    group by variant, home_county_code, aid_year
),

a7_8 as (
    select
        'A7.8' as indicator_code,
        boarding_variant.variant,
        frame.county_code,
        frame.evaluation_year,
        'all' as subgroup,
        case when frame.has_care_anywhere then coalesce(boarding_count.granted_count, 0) end as numerator,
        case when frame.has_care_anywhere then coalesce(boarding_count.applicant_count, 0) end as denominator,
        coalesce(boarding_count.granted_load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(boarding_count.load_ids, {{ empty_list() }}) as denominator_load_ids
    from frame
    cross join boarding_variant
    left join boarding_count
        on frame.county_code = boarding_count.home_county_code
        and frame.evaluation_year = boarding_count.aid_year
        and boarding_variant.variant = boarding_count.variant
),

-- A7.9: activities that schools held for children with a care file
activity_count as (
    select
        county_code,
        aid_year,
        sum(activity_count) as activity_count,
        {{ sorted_list('case when activity_count > 0 then load_id end') }} as load_ids
    from care
    group by county_code, aid_year
),

a7_9 as (
    select
        'A7.9' as indicator_code,
        'activities' as variant,
        frame.county_code,
        frame.evaluation_year,
        'all' as subgroup,
        case when frame.has_care_record then coalesce(activity_count.activity_count, 0) end as numerator,
        cast(null as numeric(38, 0)) as denominator,
        coalesce(activity_count.load_ids, {{ empty_list() }}) as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from frame
    left join activity_count
        on frame.county_code = activity_count.county_code and frame.evaluation_year = activity_count.aid_year
),

together as (
    select * from a7_2
    union all
    select * from timely_entry
    union all
    select * from in_rehabilitation
    union all
    select * from a7_6_and_7
    union all
    select * from a7_8
    union all
    select * from a7_9
),

final as (
    select
        indicator_code,
        variant,
        county_code as area_code,
        evaluation_year,
        subgroup,
        'none' as basis,
        cast(numerator as numeric(38, 0)) as numerator,
        cast(denominator as numeric(38, 0)) as denominator,
        numerator_load_ids,
        denominator_load_ids
    from together
)

select * from final
