-- grain: one row per policy year × policy × school insured (liability of schools)
with

insurance as (select * from {{ ref('stg_liability_insurance') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
school as (select * from {{ ref('dim_school') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

final as (
    select
        {{ surrogate_key(['insurance.policy_year', 'insurance.policy_number', 'insurance.school_code']) }}
            as insurance_key,
        coalesce(school.school_key, {{ unknown_key() }}) as school_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        insurance.policy_year,
        insurance.policy_number,
        coalesce(area.current_county_code, insurance.county_code) as county_code,
        insurance.school_code,
        insurance.insurer_name,
        insurance.is_no_fault,
        insurance.valid_from as valid_from_date,
        insurance.valid_to as valid_to_date,
        insurance.insured_count,
        insurance.premium_yuan,
        insurance.load_id
    from insurance
    inner join school_year on insurance.policy_year = school_year.school_start_year
    left join area on insurance.county_code = area.from_area_code
    left join school
        on insurance.school_code = school.school_code
        and school_year.snapshot_date >= school.valid_from_date
        and school_year.snapshot_date < coalesce(school.valid_to_date, cast('9999-12-31' as date))
)

select * from final
