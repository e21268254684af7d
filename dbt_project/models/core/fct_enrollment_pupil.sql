-- grain: one row per school year × school × student number (pupil register row at the 1 September snapshot)
with

pupil as (select * from {{ ref('stg_pupil') }}),
event as (select * from {{ ref('fct_student_event') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
school as (select * from {{ ref('dim_school') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

counted as (
    select
        pupil.*,
        count(*) over (partition by school_start_year, person_token) as roll_count
    from pupil
),

on_several_rolls as (
    select distinct  -- one row per person: several rolls of one person are the point here
        counted.school_start_year,
        counted.person_token,
        school_year.snapshot_date
    from counted
    inner join school_year on counted.school_start_year = school_year.school_start_year
    where counted.roll_count > 1
),

-- primary roll, first rule: the school that the latest approved transfer up to 1 September led to
transfer as (
    select
        on_several_rolls.school_start_year,
        on_several_rolls.person_token,
        event.to_school_code,
        row_number() over (
            partition by on_several_rolls.school_start_year, on_several_rolls.person_token
            order by event.event_date desc, event.event_number desc, event.to_school_code asc
        ) as recency
    from on_several_rolls
    inner join event
        on on_several_rolls.person_token = event.person_token
        and on_several_rolls.snapshot_date >= event.event_date
    where event.is_transfer and event.approval_status = 'approved'
),

latest_transfer as (select * from transfer where recency = 1),

-- second rule: the latest entry; ties: the smallest school code
ranked as (
    select
        counted.*,
        coalesce(counted.school_code = latest_transfer.to_school_code, false) as is_transfer_target,
        row_number() over (
            partition by counted.school_start_year, counted.person_token
            order by
                case when counted.school_code = latest_transfer.to_school_code then 0 else 1 end asc,
                counted.enrolled_on_date desc nulls last,
                counted.school_code asc,
                counted.student_number_token asc
        ) as roll_preference
    from counted
    left join latest_transfer
        on counted.school_start_year = latest_transfer.school_start_year
        and counted.person_token = latest_transfer.person_token
),

final as (
    select
        {{ surrogate_key(['ranked.school_year', 'ranked.school_code', 'ranked.student_number_token']) }}
            as enrollment_pupil_key,
        {{ surrogate_key(['ranked.person_token']) }} as person_key,
        school_year.school_year_key,
        coalesce(school.school_key, {{ unknown_key() }}) as school_key,
        {{ surrogate_key(['ranked.stage_code']) }} as stage_key,
        {{ surrogate_key(['ranked.grade_code']) }} as grade_key,
        coalesce(home.area_key, {{ unknown_key() }}) as home_area_key,
        ranked.school_year,
        ranked.school_start_year,
        coalesce(school_area.current_county_code, ranked.county_code) as county_code,
        coalesce(home.current_county_code, substr(ranked.home_area_code, 1, 6)) as home_county_code,
        ranked.school_code,
        ranked.student_number_token,
        ranked.student_number_type,
        ranked.person_token,
        ranked.token_basis,
        ranked.stage_code,
        ranked.grade_code,
        ranked.class_number,
        ranked.sex_code,
        {{ age_on('ranked.birth_date', 'school_year.snapshot_date') }} as age_years,
        ranked.enrolled_on_date,
        ranked.boarding_code,
        ranked.disability_code,
        ranked.is_inclusive_education,
        ranked.left_behind_code,
        ranked.is_migrant_child,
        ranked.is_orphan,
        cast(ranked.roll_count as integer) as roll_count,
        ranked.roll_preference = 1 as is_primary_roll,
        case
            when ranked.roll_count = 1 then 'only_roll'
            when ranked.is_transfer_target then 'latest_transfer'
            else 'latest_entry'
        end as primary_roll_rule,
        ranked.load_id
    from ranked
    inner join school_year on ranked.school_start_year = school_year.school_start_year
    left join area as school_area on ranked.county_code = school_area.from_area_code
    left join area as home on ranked.home_area_code = home.from_area_code
    left join school
        on ranked.school_code = school.school_code
        and school_year.snapshot_date >= school.valid_from_date
        and school_year.snapshot_date < coalesce(school.valid_to_date, cast('9999-12-31' as date))
)

select * from final
