-- grain: one row per year × month × school (meals of the nutrition plan)
with

nutrition as (select * from {{ ref('stg_nutrition_month') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
school as (select * from {{ ref('dim_school') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

-- the months up to August belong to the school year that began the year before
placed as (
    select
        nutrition.*,
        case when nutrition.month < 9 then nutrition.aid_year - 1 else nutrition.aid_year end as school_start_year
    from nutrition
),

final as (
    select
        {{ surrogate_key(['placed.aid_year', 'placed.month', 'placed.school_code']) }} as nutrition_month_key,
        coalesce(school.school_key, {{ unknown_key() }}) as school_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        placed.aid_year,
        placed.month,
        placed.school_start_year,
        coalesce(area.current_county_code, placed.county_code) as county_code,
        placed.school_code,
        placed.pupil_count,
        placed.beneficiary_count,
        placed.meal_day_count,
        placed.meal_count,
        placed.standard_yuan,
        placed.allocated_yuan,
        placed.spent_yuan,
        placed.balance_yuan,
        placed.load_id
    from placed
    inner join school_year on placed.school_start_year = school_year.school_start_year
    left join area on placed.county_code = area.from_area_code
    left join school
        on placed.school_code = school.school_code
        and school_year.snapshot_date >= school.valid_from_date
        and school_year.snapshot_date < coalesce(school.valid_to_date, cast('9999-12-31' as date))
)

select * from final
