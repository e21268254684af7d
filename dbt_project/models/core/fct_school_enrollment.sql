-- grain: one row per school year × county × school × stage × grade × sex (statistics form, 1 September)
with

enrollment as (select * from {{ ref('stg_enrollment_count') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
school as (select * from {{ ref('dim_school') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

final as (
    select
        {{ surrogate_key([
            'enrollment.school_year', 'enrollment.county_code', 'enrollment.school_code', 'enrollment.stage_code',
            'enrollment.grade_code', 'enrollment.sex_code'
        ]) }} as school_enrollment_key,
        school_year.school_year_key,
        coalesce(school.school_key, {{ unknown_key() }}) as school_key,
        {{ surrogate_key(['enrollment.stage_code']) }} as stage_key,
        {{ surrogate_key(['enrollment.grade_code']) }} as grade_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        enrollment.school_year,
        enrollment.school_start_year,
        coalesce(area.current_county_code, enrollment.county_code) as county_code,
        enrollment.county_code as reported_county_code,
        enrollment.school_code,
        enrollment.stage_code,
        enrollment.grade_code,
        enrollment.sex_code,
        enrollment.enrollment_count,
        enrollment.entrant_count,
        enrollment.graduate_count,
        enrollment.boarder_count,
        enrollment.transfer_in_count,
        enrollment.transfer_out_count,
        enrollment.death_count,
        enrollment.load_id
    from enrollment
    inner join school_year on enrollment.school_year = school_year.school_year
    left join area on enrollment.county_code = area.from_area_code
    left join school
        on enrollment.school_code = school.school_code
        and school_year.snapshot_date >= school.valid_from_date
        and school_year.snapshot_date < coalesce(school.valid_to_date, cast('9999-12-31' as date))
)

select * from final
