-- grain: one row per case of a child out of school × county that may see it (of the home, of the last school)
with

dropout_case as (select * from {{ ref('fct_dropout_case') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
event as (select * from {{ ref('fct_student_event') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
school as (select * from {{ ref('dim_school') }}),
area as (select * from {{ ref('bridge_area_succession') }}),
poverty as (select * from {{ ref('fct_poverty_person') }}),
person_match as (select * from {{ ref('bridge_person_match') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),

roll as (
    select
        pupil.person_token,
        pupil.school_start_year,
        pupil.school_code,
        school_year.snapshot_date
    from pupil
    inner join school_year on pupil.school_start_year = school_year.school_start_year
    where pupil.is_primary_roll
),

last_register as (
    select
        max(school_start_year) as school_start_year,
        max(snapshot_date) as snapshot_date
    from roll
),

-- the newest register after the child was found: only there may it stand on a roll again
later_roll as (
    select
        dropout_case.dropout_case_key,
        roll.school_start_year,
        roll.school_code,
        row_number() over (partition by dropout_case.dropout_case_key order by roll.school_start_year desc) as recency
    from dropout_case
    inner join roll
        on dropout_case.person_token = roll.person_token
        and dropout_case.found_date < roll.snapshot_date
),

again_on_roll as (select * from later_roll where recency = 1),

-- the first register after the day of return must hold the child, unless it graduated, died or went abroad in between
first_register_after as (
    select
        dropout_case.dropout_case_key,
        dropout_case.person_token,
        dropout_case.returned_date,
        min(school_year.school_start_year) as school_start_year,
        min(school_year.snapshot_date) as snapshot_date
    from dropout_case
    inner join school_year on dropout_case.returned_date <= school_year.snapshot_date
    inner join last_register on school_year.school_start_year <= last_register.school_start_year
    where dropout_case.closing_kind = 'returned'
    group by dropout_case.dropout_case_key, dropout_case.person_token, dropout_case.returned_date
),

left_again as (
    select distinct first_register_after.dropout_case_key  -- one row per case, however many events
    from first_register_after
    inner join event
        on first_register_after.person_token = event.person_token
        and first_register_after.returned_date <= event.event_date
        and first_register_after.snapshot_date >= event.event_date
    where event.is_legitimate_exit and event.approval_status = 'approved'
),

returned_to_no_roll as (
    select first_register_after.dropout_case_key
    from first_register_after
    left join roll
        on first_register_after.person_token = roll.person_token
        and first_register_after.school_start_year = roll.school_start_year
    left join left_again on first_register_after.dropout_case_key = left_again.dropout_case_key
    where roll.person_token is null and left_again.dropout_case_key is null
),

-- on the poverty list of the ledger's year, under the number of the case or of the pupil that the person was matched to
poor as (
    select
        poverty_year,
        person_token
    from poverty
    where person_token is not null
    union
    select
        poverty_year,
        pupil_person_token as person_token
    from person_match
    where match_status = 'matched'
),

latest_school as (
    select
        school.school_code,
        school.school_name,
        coalesce(area.current_county_code, school.county_code) as county_code,
        row_number() over (partition by school.school_code order by school.valid_from_date desc) as recency
    from school
    left join area on school.county_code = area.from_area_code
),

last_school as (select * from latest_school where recency = 1),

described as (
    select
        dropout_case.*,
        last_school.school_name as last_school_name,
        last_school.county_code as school_county_code,
        poor.person_token is not null as is_registered_poor,
        again_on_roll.dropout_case_key is not null as is_on_roll_again,
        again_on_roll.school_start_year as roll_start_year,
        again_on_roll.school_code as roll_school_code,
        coalesce(
            dropout_case.days_to_close,
            {{ days_between('dropout_case.found_date', 'evaluation_year.poverty_snapshot_date') }}
        ) as days_open,
        case
            when returned_to_no_roll.dropout_case_key is not null then 'returned_on_no_roll'
            when dropout_case.closing_kind = 'returned' and dropout_case.returned_date is null
                then 'returned_without_date'
            when dropout_case.closing_kind = 'home_teaching' and coalesce(dropout_case.home_teaching_visit_count, 0) = 0
                then 'taught_at_home_without_visit'
            when dropout_case.is_open and again_on_roll.school_start_year = last_register.school_start_year
                then 'open_but_on_roll'
            when dropout_case.is_lost_from_ledger then 'lost_from_ledger'
            else 'none'
        end as contradiction
    from dropout_case
    cross join last_register
    left join last_school on dropout_case.last_school_code = last_school.school_code
    left join again_on_roll on dropout_case.dropout_case_key = again_on_roll.dropout_case_key
    left join returned_to_no_roll on dropout_case.dropout_case_key = returned_to_no_roll.dropout_case_key
    left join evaluation_year on dropout_case.ledger_year = evaluation_year.evaluation_year
    left join poor
        on dropout_case.person_token = poor.person_token
        and dropout_case.ledger_year = poor.poverty_year
),

entitled as (
    select
        dropout_case_key,
        county_code,
        case when county_code = school_county_code then 'school_and_home' else 'home' end as county_relation
    from described
    where county_code is not null
    union all
    select
        dropout_case_key,
        school_county_code as county_code,
        'school' as county_relation
    from described
    where school_county_code is not null and school_county_code <> county_code
),

final as (
    select
        entitled.county_code,
        cast(entitled.county_relation as {{ dbt.type_string() }}) as county_relation,
        described.county_code as home_county_code,
        described.reported_county_code,
        described.case_number,
        described.person_token,
        described.ledger_year,
        described.found_date,
        described.verified_date,
        described.persuaded_date,
        described.returned_date,
        described.closed_date,
        cast(described.closing_kind as {{ dbt.type_string() }}) as closing_kind,
        cast(described.handling_stage as {{ dbt.type_string() }}) as handling_stage,
        described.is_open,
        described.days_open,
        described.out_of_school_reason,
        described.persuasion_count,
        described.home_teaching_visit_count,
        described.last_school_code,
        described.last_school_name,
        described.last_grade_code,
        described.is_registered_poor,
        described.is_on_roll_again,
        described.roll_start_year,
        described.roll_school_code,
        cast(described.contradiction as {{ dbt.type_string() }}) as contradiction,
        cast(case
            when described.contradiction = 'returned_on_no_roll' then '以复学销号但其后学籍名册中没有:核实是否在校,重新立案'
            when described.contradiction = 'returned_without_date' then '以复学销号但没有复学日期:补填日期或重新立案'
            when described.contradiction = 'taught_at_home_without_visit' then '以送教上门销号但没有送教次数:核实送教情况'
            when described.contradiction = 'open_but_on_roll' then '未销号但已在学籍名册:核对是否到校,登记复学后销号'
            when described.contradiction = 'lost_from_ledger' then '未销号却不在其后台账:查明去向,补回台账'
            when described.handling_stage = 'found' then '核实去向和原因'
            when described.handling_stage = 'verified' then '上门劝返'
            when described.handling_stage = 'persuaded' then '继续劝返,落实复学或送教上门'
            when described.handling_stage = 'returned' then '核对学籍后销号'
            else '已办结'
        end as {{ dbt.type_string() }}) as what_next_zh,
        cast(case
            when described.contradiction = 'returned_on_no_roll'
                then 'closed as returned, but on no roll afterwards: see where the child is, open the case again'
            when described.contradiction = 'returned_without_date'
                then 'closed as returned without a day of return: fill it in or open the case again'
            when described.contradiction = 'taught_at_home_without_visit'
                then 'closed as taught at home without any visit: find out who teaches the child'
            when described.contradiction = 'open_but_on_roll'
                then 'open, but on a roll: see whether the child attends, enter the return and close the case'
            when described.contradiction = 'lost_from_ledger'
                then 'open, but no longer in the ledger: find out where the child is and enter the case again'
            when described.handling_stage = 'found' then 'verify where the child is and why'
            when described.handling_stage = 'verified' then 'visit the family and persuade it'
            when described.handling_stage = 'persuaded' then 'go on persuading; settle the return or teaching at home'
            when described.handling_stage = 'returned' then 'check the roll, then close the case'
            else 'nothing: the case is closed'
        end as {{ dbt.type_string() }}) as what_next_en
    from entitled
    inner join described on entitled.dropout_case_key = described.dropout_case_key
)

select * from final
