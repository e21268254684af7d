-- grain: one row per home county × evaluation year × stage × entitlement × basis; from rounded counts only
with

cell as (select * from {{ ref('int_student_aid_cell') }}),
entitlement as (select * from {{ ref('dim_entitlement') }}),
reporting_area as (select * from {{ ref('dim_reporting_area') }}),
disclosure_policy as (select * from {{ ref('disclosure_policy') }}),
disclosure_method as (select * from {{ ref('disclosure_methods') }}),

rounded as (
    {{ rounded_counts(
        'student_aid_county',
        ['county_code', 'year_text', 'term', 'entitlement_code', 'basis_part'],
        ['numerator', 'rest', 'not_expected']
    ) | indent(4) }}
),

rule as (
    select
        disclosure_method.rounding_base,
        disclosure_policy.money_min_count
    from disclosure_method
    cross join disclosure_policy
    where disclosure_method.mart = 'student_aid_county' and disclosure_policy.disclosure_class = 'dense'
),

entitlement_name as (
    select
        entitlement_code,
        min(name_zh) as entitlement_name_zh,
        min(name_en) as entitlement_name_en
    from entitlement
    group by entitlement_code
),

basis_part as (
    select
        'plan_strict' as basis,
        'plan_strict' as basis_part
    union all
    select
        'national_broad' as basis,
        'plan_strict' as basis_part
    union all
    select
        'national_broad' as basis,
        'surplus' as basis_part
    union all
    select
        'plan_strict' as basis,
        'not_due' as basis_part
    union all
    select
        'national_broad' as basis,
        'not_due' as basis_part
),

-- names of the cells from the exact relation, counts from the rounded one only
shown as (
    select
        cell.county_code,
        cell.evaluation_year,
        cell.stage_code,
        cell.entitlement_code,
        basis_part.basis,
        -- fails closed: a cell that nobody rounded makes the sum unknown
        case
            when cell.is_measured and (rounded.numerator is not null or rounded.not_expected is not null) then 0
            else 1
        end as is_missing,
        cell.standard_yuan,
        coalesce(rounded.numerator, 0) as covered_count,
        coalesce(rounded.rest, 0) as missing_count,
        coalesce(rounded.not_expected, 0) as not_expected_count
    from cell
    inner join basis_part on cell.basis_part = basis_part.basis_part
    left join rounded
        on cell.county_code = rounded.county_code
        and cast(cell.evaluation_year as {{ dbt.type_string() }}) = rounded.year_text
        and cell.term = rounded.term
        and cell.entitlement_code = rounded.entitlement_code
        and cell.basis_part = rounded.basis_part
    where cell.evaluation_year <= {{ var('evaluation_year') }}
),

added as (
    select
        county_code,
        evaluation_year,
        stage_code,
        entitlement_code,
        basis,
        max(is_missing) = 1 as is_unknown,
        sum(covered_count) as covered_count,
        sum(missing_count) as missing_count,
        sum(not_expected_count) as not_expected_count,
        sum((covered_count + missing_count) * standard_yuan) as due_yuan,
        sum(covered_count * standard_yuan) as covered_yuan
    from shown
    group by county_code, evaluation_year, stage_code, entitlement_code, basis
),

final as (
    select
        added.county_code,
        reporting_area.area_name as county_name,
        reporting_area.parent_area_code as city_code,
        reporting_area.is_plan_county,
        added.evaluation_year,
        added.stage_code,
        added.entitlement_code,
        entitlement_name.entitlement_name_zh,
        entitlement_name.entitlement_name_en,
        added.basis,
        cast(case when not added.is_unknown then added.covered_count + added.missing_count end as bigint)
            as expected_count,
        cast(case when not added.is_unknown then added.covered_count end as bigint) as covered_count,
        cast(
            case
                when not added.is_unknown
                    then
                        100 * cast(added.covered_count as numeric(38, 10))
                        / nullif(added.covered_count + added.missing_count, 0)
            end as numeric(20, 4)
        ) as coverage_percent,
        cast(case when not added.is_unknown then added.missing_count end as bigint) as missing_count,
        cast(case when not added.is_unknown then added.not_expected_count end as bigint) as not_expected_count,
        cast(
            case
                when not added.is_unknown and added.covered_count + added.missing_count >= rule.money_min_count
                    then added.due_yuan
            end as numeric(20, 2)
        ) as due_at_standard_yuan,
        cast(
            case when not added.is_unknown and added.covered_count >= rule.money_min_count then added.covered_yuan end
            as numeric(20, 2)
        ) as covered_at_standard_yuan,
        rule.rounding_base,
        case
            when added.is_unknown then 'not_measurable'
            when added.covered_count + added.missing_count = 0 then 'zero_denominator'
        end as value_reason
    from added
    cross join rule
    inner join reporting_area on added.county_code = reporting_area.area_code and reporting_area.area_level = 'county'
    inner join entitlement_name on added.entitlement_code = entitlement_name.entitlement_code
)

select * from final
