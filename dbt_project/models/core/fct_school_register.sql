-- grain: one row per school year × school (as the yearly register names it, closed schools included)
with

register as (select * from {{ ref('stg_school') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
school as (select * from {{ ref('dim_school') }}),
school_type as (select * from {{ ref('school_types') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

final as (
    select
        {{ surrogate_key(['register.school_year', 'register.school_code']) }} as school_register_key,
        school_year.school_year_key,
        coalesce(school.school_key, {{ unknown_key() }}) as school_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        register.school_year,
        register.school_start_year,
        coalesce(area.current_county_code, register.county_code) as county_code,
        register.school_code,
        register.school_type_code,
        school_type.category_code,
        coalesce(school_type.is_attached_class, false) as is_attached_class,
        -- 51x: schools for the blind, the deaf, children with intellectual disability; 519: an attached special class
        coalesce(register.school_type_code like '51%' or register.attached_class_types like '%519%', false)
            as has_special_education,
        coalesce(register.change_type_code = '4', false) as is_closed,
        register.load_id
    from register
    inner join school_year on register.school_start_year = school_year.school_start_year
    left join school_type on register.school_type_code = school_type.school_type_code
    left join area on register.county_code = area.from_area_code
    left join school
        on register.school_code = school.school_code
        and school_year.snapshot_date >= school.valid_from_date
        and school_year.snapshot_date < coalesce(school.valid_to_date, cast('9999-12-31' as date))
)

select * from final
