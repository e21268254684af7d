-- grain: one row per indicator × variant × area × evaluation year × subgroup × basis
with

county_value as (select * from {{ ref('int_county_indicator') }}),
indicator as (select * from {{ ref('dim_indicator') }}),
roll_up_rule as (select * from {{ ref('roll_up_rules') }}),
rollup_area as (select * from {{ ref('bridge_area_rollup') }}),
reporting_area as (select * from {{ ref('dim_reporting_area') }}),

-- every county value, once for each area that it is pooled into; what is reported for its own area stays as it came
member as (
    select
        county_value.indicator_code,
        county_value.variant,
        rollup_area.area_code,
        rollup_area.area_level,
        county_value.evaluation_year,
        county_value.subgroup,
        county_value.basis,
        county_value.numerator,
        county_value.denominator,
        county_value.numerator_load_ids,
        county_value.denominator_load_ids
    from county_value
    inner join indicator
        on county_value.indicator_code = indicator.indicator_code
        and county_value.variant = indicator.variant
        and county_value.basis = indicator.basis
    inner join roll_up_rule on indicator.roll_up = roll_up_rule.roll_up
    inner join rollup_area
        on county_value.area_code = rollup_area.county_code
        and roll_up_rule.area_level = rollup_area.area_level
        and coalesce(roll_up_rule.group_code, rollup_area.area_code) = rollup_area.area_code
    where indicator.roll_up <> 'as_reported'
    union all
    select
        county_value.indicator_code,
        county_value.variant,
        county_value.area_code,
        reporting_area.area_level,
        county_value.evaluation_year,
        county_value.subgroup,
        county_value.basis,
        county_value.numerator,
        county_value.denominator,
        county_value.numerator_load_ids,
        county_value.denominator_load_ids
    from county_value
    inner join indicator
        on county_value.indicator_code = indicator.indicator_code
        and county_value.variant = indicator.variant
        and county_value.basis = indicator.basis
    inner join roll_up_rule on indicator.roll_up = roll_up_rule.roll_up
    inner join reporting_area
        on county_value.area_code = reporting_area.area_code
        and roll_up_rule.area_level = reporting_area.area_level
    where indicator.roll_up = 'as_reported'
),

-- one column of figures and two of loads under one another, so that a single grouping pools all three
stacked as (
    select
        member.indicator_code,
        member.variant,
        member.area_code,
        member.area_level,
        member.evaluation_year,
        member.subgroup,
        member.basis,
        1 as is_figure,
        member.numerator,
        member.denominator,
        cast(null as bigint) as numerator_load_id,
        cast(null as bigint) as denominator_load_id
    from member
    union all
    select
        member.indicator_code,
        member.variant,
        member.area_code,
        member.area_level,
        member.evaluation_year,
        member.subgroup,
        member.basis,
        0 as is_figure,
        null as numerator,
        null as denominator,
        item.load_id as numerator_load_id,
        null as denominator_load_id
    from member
    {{ each_of('member.numerator_load_ids', 'item') }}
    union all
    select
        member.indicator_code,
        member.variant,
        member.area_code,
        member.area_level,
        member.evaluation_year,
        member.subgroup,
        member.basis,
        0 as is_figure,
        null as numerator,
        null as denominator,
        null as numerator_load_id,
        item.load_id as denominator_load_id
    from member
    {{ each_of('member.denominator_load_ids', 'item') }}
),

-- pool numerators and denominators; percentages are never averaged
area_value as (
    select
        indicator_code,
        variant,
        area_code,
        area_level,
        evaluation_year,
        subgroup,
        basis,
        {{ pooled('numerator', 'is_figure') }} as numerator,
        {{ pooled('denominator', 'is_figure') }} as denominator,
        {{ sorted_list('numerator_load_id') }} as numerator_load_ids,
        {{ sorted_list('denominator_load_id') }} as denominator_load_ids
    from stacked
    group by indicator_code, variant, area_code, area_level, evaluation_year, subgroup, basis
),

-- gaps: the difference of two ratios kept as one exact fraction, n/d - N/D = (n*D - N*d) / (d*D);
-- where one of the two ratios does not exist, neither does the gap
gap as (
    select
        indicator.indicator_code,
        indicator.variant,
        minuend.area_code,
        minuend.evaluation_year,
        minuend.subgroup,
        minuend.basis,
        cast(
            case
                when minuend.denominator * subtrahend.denominator <> 0
                    then minuend.numerator * subtrahend.denominator - subtrahend.numerator * minuend.denominator
            end as numeric(38, 0)
        ) as numerator,
        cast(minuend.denominator * subtrahend.denominator as numeric(38, 0)) as denominator,
        {{ merged_list('minuend.numerator_load_ids', 'subtrahend.numerator_load_ids') }} as numerator_load_ids,
        {{ merged_list('minuend.denominator_load_ids', 'subtrahend.denominator_load_ids') }} as denominator_load_ids
    from indicator
    inner join roll_up_rule on indicator.roll_up = roll_up_rule.roll_up
    inner join area_value as minuend
        on indicator.minuend_indicator_code = minuend.indicator_code
        and indicator.minuend_variant = minuend.variant
        and indicator.basis = minuend.basis
        and indicator.subgroups = minuend.subgroup
        and roll_up_rule.area_level = minuend.area_level
        and coalesce(roll_up_rule.group_code, minuend.area_code) = minuend.area_code
    inner join area_value as subtrahend
        on indicator.subtrahend_indicator_code = subtrahend.indicator_code
        and indicator.subtrahend_variant = subtrahend.variant
        and minuend.basis = subtrahend.basis
        and minuend.subgroup = subtrahend.subgroup
        and minuend.evaluation_year = subtrahend.evaluation_year
        and indicator.subtrahend_scope = case
            when subtrahend.area_level = 'group' then subtrahend.area_code else subtrahend.area_level
        end
),

together as (
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
    from area_value
    union all
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
    from gap
),

final as (
    select
        together.indicator_code,
        together.variant,
        together.area_code,
        together.evaluation_year,
        together.subgroup,
        together.basis,
        together.numerator,
        together.denominator,
        case
            when indicator.measure_type = 'count' then cast(together.numerator as numeric(20, 10))
            else {{ ratio('together.numerator', 'together.denominator') }}
        end as value,
        {{ value_reason('indicator.measure_type', 'together.numerator', 'together.denominator') }} as value_reason,
        cast(indicator.method_version as {{ dbt.type_string() }}) as method_version,
        together.numerator_load_ids,
        together.denominator_load_ids
    from together
    inner join indicator
        on together.indicator_code = indicator.indicator_code
        and together.variant = indicator.variant
        and together.basis = indicator.basis
)

select * from final
