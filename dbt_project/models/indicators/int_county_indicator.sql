-- grain: one row per indicator × variant × area × evaluation year × subgroup × basis, for the area that was counted
with

goal as (select * from {{ ref('ind_g_goals') }}),
preschool as (select * from {{ ref('ind_a01_preschool') }}),
context as (select * from {{ ref('ind_c_context') }}),
aid_goal as (select * from {{ ref('ind_g_aid') }}),
aid as (select * from {{ ref('ind_a06_aid') }}),
aid_policy as (select * from {{ ref('ind_a06_policies_and_loans') }}),
document_and_grant as (select * from {{ ref('ind_documents_and_grants') }}),
services as (select * from {{ ref('ind_a06_services') }}),
special as (select * from {{ ref('ind_a07_special') }}),
work as (select * from {{ ref('ind_w_work_requirements') }}),
indicator as (select * from {{ ref('dim_indicator') }}),
roll_up_rule as (select * from {{ ref('roll_up_rules') }}),
reporting_area as (select * from {{ ref('dim_reporting_area') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),

-- a row of the registry that names a missing feed has no model: its cells stand there all the same, without a value.
-- Pooled rows are given by county, rows reported as they come for their own area
not_counted as (
    select
        indicator.indicator_code,
        indicator.variant,
        reporting_area.area_code,
        evaluation_year.evaluation_year,
        indicator.subgroups as subgroup,
        indicator.basis,
        cast(null as numeric(38, 0)) as numerator,
        cast(null as numeric(38, 0)) as denominator,
        {{ empty_list() }} as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from indicator
    inner join roll_up_rule
        on indicator.roll_up = roll_up_rule.roll_up
        and (indicator.roll_up = 'as_reported' or roll_up_rule.area_level = 'county')
    inner join reporting_area on roll_up_rule.area_level = reporting_area.area_level
    cross join evaluation_year
    where indicator.missing_feeds is not null
),

-- one branch per model of indicators
together as (
    select * from goal
    union all
    select * from preschool
    union all
    select * from context
    union all
    select * from aid_goal
    union all
    select * from aid
    union all
    select * from aid_policy
    union all
    select * from document_and_grant
    union all
    select * from services
    union all
    select * from special
    union all
    select * from work
    union all
    select * from not_counted
),

final as (
    select
        indicator_code,
        variant,
        area_code,
        evaluation_year,
        subgroup,
        basis,
        numerator,
        denominator,
        numerator_load_ids,
        denominator_load_ids
    from together
)

select * from final
