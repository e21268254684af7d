-- grain: one row per integrity rule × area × evaluation year; leads, never findings
with

cell as (select * from {{ ref('int_funds_integrity_county') }}),
rule as (select * from {{ ref('integrity_rules') }}),
rollup_area as (select * from {{ ref('bridge_area_rollup') }}),
reporting_area as (select * from {{ ref('dim_reporting_area') }}),
area_group as (select * from {{ ref('dim_area_group') }}),
disclosure_policy as (select * from {{ ref('disclosure_policy') }}),
disclosure_method as (select * from {{ ref('disclosure_methods') }}),

rounded as (
    {{ rounded_counts(
        'funds_integrity',
        ['rule_code', 'county_code', 'year_text'],
        ['open_count', 'verified_count', 'handled_count', 'false_positive_count']
    ) | indent(4) }}
),

protection as (
    select
        disclosure_method.rounding_base,
        disclosure_policy.money_base_yuan,
        disclosure_policy.money_min_count
    from disclosure_method
    cross join disclosure_policy
    where disclosure_method.mart = 'funds_integrity' and disclosure_policy.disclosure_class = 'dense'
),

-- counts of persons come from the rounded relation only; schools, documents and meals are counted exactly
shown as (
    select
        cell.rule_code,
        cell.county_code,
        cell.evaluation_year,
        rule.is_person_level,
        cell.amount_at_risk_yuan,
        cell.recovered_yuan,
        case when rule.is_person_level then rounded.open_count else cell.open_count end as open_count,
        case when rule.is_person_level then rounded.verified_count else cell.verified_count end as verified_count,
        case when rule.is_person_level then rounded.handled_count else cell.handled_count end as handled_count,
        case when rule.is_person_level then rounded.false_positive_count else cell.false_positive_count end
            as false_positive_count
    from cell
    inner join rule on cell.rule_code = rule.rule_code
    left join rounded
        on cell.rule_code = rounded.rule_code
        and cell.county_code = rounded.county_code
        and cast(cell.evaluation_year as {{ dbt.type_string() }}) = rounded.year_text
    where cell.evaluation_year <= {{ var('evaluation_year') }}
),

-- a group is shown where it is one of all plan counties; a county that cannot be checked makes its pools unknown
pooled as (
    select
        shown.rule_code,
        rollup_area.area_code,
        shown.evaluation_year,
        {{ pooled('shown.open_count', '1') }} as open_count,
        {{ pooled('shown.verified_count', '1') }} as verified_count,
        {{ pooled('shown.handled_count', '1') }} as handled_count,
        {{ pooled('shown.false_positive_count', '1') }} as false_positive_count,
        sum(shown.amount_at_risk_yuan) as amount_at_risk_yuan,
        sum(shown.recovered_yuan) as recovered_yuan
    from shown
    inner join rollup_area on shown.county_code = rollup_area.county_code
    left join area_group on rollup_area.area_code = area_group.group_code
    where rollup_area.area_level <> 'group' or area_group.needs_preschool_priority is null
    group by shown.rule_code, rollup_area.area_code, shown.evaluation_year
),

final as (
    select
        pooled.rule_code,
        pooled.area_code,
        pooled.evaluation_year,
        rule.family,
        rule.name_zh,
        rule.name_en,
        reporting_area.area_name,
        reporting_area.area_level,
        reporting_area.parent_area_code,
        reporting_area.is_plan_county,
        rule.is_person_level,
        cast(
            pooled.open_count + pooled.verified_count + pooled.handled_count + pooled.false_positive_count as bigint
        ) as flag_count,
        cast(pooled.open_count as bigint) as open_count,
        cast(pooled.verified_count as bigint) as verified_count,
        cast(pooled.handled_count as bigint) as handled_count,
        cast(pooled.false_positive_count as bigint) as false_positive_count,
        -- money of a few tells what each of them got: it is shown for many, and in round figures
        cast(
            case
                when pooled.open_count is null then null
                when not rule.is_person_level then pooled.amount_at_risk_yuan
                when pooled.open_count + pooled.verified_count + pooled.handled_count = 0 then 0
                when pooled.open_count + pooled.verified_count + pooled.handled_count >= protection.money_min_count
                    then round(pooled.amount_at_risk_yuan / protection.money_base_yuan) * protection.money_base_yuan
            end as numeric(20, 2)
        ) as amount_at_risk_yuan,
        cast(
            case
                when pooled.open_count is null then null
                when not rule.is_person_level then pooled.recovered_yuan
                when pooled.verified_count + pooled.handled_count = 0 then 0
                when pooled.verified_count + pooled.handled_count >= protection.money_min_count
                    then round(pooled.recovered_yuan / protection.money_base_yuan) * protection.money_base_yuan
            end as numeric(20, 2)
        ) as recovered_yuan,
        case
            when pooled.open_count is null then 'not_measurable'
            when
                rule.is_person_level
                and pooled.open_count + pooled.verified_count + pooled.handled_count > 0
                and pooled.open_count + pooled.verified_count + pooled.handled_count < protection.money_min_count
                then 'few_persons'
        end as amount_reason,
        case when rule.is_person_level then protection.rounding_base end as rounding_base,
        pooled.open_count is not null as is_measurable,
        case when pooled.open_count is null then 'not_measurable' end as value_reason
    from pooled
    inner join rule on pooled.rule_code = rule.rule_code
    inner join reporting_area on pooled.area_code = reporting_area.area_code
    cross join protection
)

select * from final
