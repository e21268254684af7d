-- grain: one row per school × month × kind of impossible meal figures (I09); months that repeat: one row per run
with

nutrition as (select * from {{ ref('fct_nutrition_month') }}),

bounded as (
    select
        nutrition.*,
        bound.max_meal_days,
        bound.min_equal_months
    from nutrition
    cross join (
        select
            {{ threshold('I09', 'max_meal_days') }} as max_meal_days,
            {{ threshold('I09', 'min_equal_months') }} as min_equal_months
    ) as bound
),

single_month as (
    select
        'meal_days_over' as case_kind,
        aid_year,
        month,
        school_code,
        county_code,
        spent_yuan,
        {{ evidence(['meal_day_count']) }} as evidence_text,
        '供餐 ' || {{ as_text('meal_day_count') }} || ' 天，多于当月教学日' as description_zh,
        'meals on ' || {{ as_text('meal_day_count') }} || ' days, more than the month has school days'
            as description_en,
        {{ one_load('load_id') }} as load_ids
    from bounded
    where meal_day_count > max_meal_days
    union all
    select
        'beneficiaries_over' as case_kind,
        aid_year,
        month,
        school_code,
        county_code,
        spent_yuan,
        {{ evidence(['beneficiary_count', 'pupil_count']) }} as evidence_text,
        '受益 ' || {{ as_text('beneficiary_count') }} || ' 人，在校 ' || {{ as_text('pupil_count') }} || ' 人'
            as description_zh,
        {{ as_text('beneficiary_count') }} || ' fed, ' || {{ as_text('pupil_count') }} || ' pupils' as description_en,
        {{ one_load('load_id') }} as load_ids
    from bounded
    where beneficiary_count > pupil_count
    union all
    select
        'meals_over' as case_kind,
        aid_year,
        month,
        school_code,
        county_code,
        spent_yuan,
        {{ evidence(['meal_count', 'beneficiary_count', 'meal_day_count']) }} as evidence_text,
        '就餐 ' || {{ as_text('meal_count') }} || ' 人次，多于受益人数乘以供餐天数' as description_zh,
        {{ as_text('meal_count') }} || ' meals, more than eaters times days' as description_en,
        {{ one_load('load_id') }} as load_ids
    from bounded
    where meal_count > beneficiary_count * meal_day_count
),

-- the same number of eaters, below full attendance, on the same number of days, month after month: nobody was counted
compared as (
    select
        bounded.*,
        case
            when
                lag(month) over (partition by school_code, aid_year order by month) = month - 1
                and lag(beneficiary_count) over (partition by school_code, aid_year order by month) = beneficiary_count
                and lag(meal_day_count) over (partition by school_code, aid_year order by month) = meal_day_count
                then 0
            else 1
        end as is_new_run
    from bounded
    where beneficiary_count < pupil_count
),

numbered as (
    select
        compared.*,
        sum(is_new_run) over (
            partition by school_code, aid_year order by month rows between unbounded preceding and current row
        ) as run_number
    from compared
),

run_of_months as (
    select
        'identical_counts' as case_kind,
        aid_year,
        min(month) as month,
        school_code,
        min(county_code) as county_code,
        sum(spent_yuan) as spent_yuan,
        {{ evidence(['count(*)', 'min(beneficiary_count)', 'min(meal_day_count)']) }} as evidence_text,
        '连续 ' || {{ as_text('count(*)') }} || ' 个月就餐人数和天数完全相同' as description_zh,
        {{ as_text('count(*)') }} || ' months with exactly the same eaters and days' as description_en,
        {{ sorted_list('load_id') }} as load_ids
    from numbered
    group by school_code, aid_year, run_number
    having count(*) >= min(min_equal_months)
),

together as (
    select * from single_month
    union all
    select * from run_of_months
),

final as (
    select
        'I09' as rule_code,
        case_kind,
        {{ evidence(['school_code', 'aid_year', 'month', 'case_kind']) }} as case_key,
        evidence_text,
        aid_year as evaluation_year,
        county_code,
        cast(null as {{ dbt.type_string() }}) as home_county_code,
        cast(null as {{ dbt.type_string() }}) as person_token,
        school_code,
        cast(null as {{ dbt.type_string() }}) as entitlement_code,
        cast(null as {{ dbt.type_string() }}) as semester_code,
        cast(null as {{ dbt.type_string() }}) as document_number,
        {{ first_of_month('aid_year', 'month') }} as since_date,
        cast(coalesce(spent_yuan, 0) as numeric(14, 2)) as amount_at_risk_yuan,
        description_zh,
        description_en,
        load_ids
    from together
)

select * from final
