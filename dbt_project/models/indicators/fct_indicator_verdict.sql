-- grain: one row per indicator × variant × area × evaluation year × subgroup × basis: target and verdict
with

indicator_value as (select * from {{ ref('fct_indicator_value') }}),
indicator as (select * from {{ ref('dim_indicator') }}),
target as (select * from {{ ref('dim_target') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),

baseline_year as (select * from evaluation_year where is_baseline),

baseline as (
    select
        indicator_value.indicator_code,
        indicator_value.variant,
        indicator_value.area_code,
        indicator_value.subgroup,
        indicator_value.basis,
        indicator_value.evaluation_year as baseline_year,
        indicator_value.numerator,
        coalesce(indicator_value.denominator, 1) as denominator
    from indicator_value
    inner join baseline_year on indicator_value.evaluation_year = baseline_year.evaluation_year
    where indicator_value.value is not null
),

compared as (
    select
        indicator_value.indicator_code,
        indicator_value.variant,
        indicator_value.area_code,
        indicator_value.evaluation_year,
        indicator_value.subgroup,
        indicator_value.basis,
        indicator_value.value,
        indicator.direction,
        indicator.unit_scale,
        indicator_value.numerator,
        coalesce(indicator_value.denominator, 1) as denominator,
        target.operator as target_operator,
        target.target_value,
        target.target_year,
        target.year_basis as target_year_basis,
        target.assumption_id,
        baseline.numerator as baseline_numerator,
        baseline.denominator as baseline_denominator,
        indicator_value.evaluation_year - baseline.baseline_year as years_since_baseline,
        target.target_year - baseline.baseline_year as years_to_target
    from indicator_value
    inner join indicator
        on indicator_value.indicator_code = indicator.indicator_code
        and indicator_value.variant = indicator.variant
        and indicator_value.basis = indicator.basis
    left join target
        on indicator_value.indicator_code = target.indicator_code
        and indicator_value.area_code = target.area_code
        and indicator_value.subgroup = target.subgroup
        and indicator.has_target
    left join baseline
        on indicator_value.indicator_code = baseline.indicator_code
        and indicator_value.variant = baseline.variant
        and indicator_value.area_code = baseline.area_code
        and indicator_value.subgroup = baseline.subgroup
        and indicator_value.basis = baseline.basis
),

-- the straight line from the baseline to the target, as one fraction line_numerator / line_denominator
lined as (
    select
        compared.*,
        {{ target_reached('target_operator', 'unit_scale', 'numerator', 'target_value', 'denominator') }} as is_reached,
        {{ line_numerator('evaluation_year < target_year', 'unit_scale', 'baseline_numerator', 'baseline_denominator',
                          'target_value', 'years_since_baseline', 'years_to_target') }} as line_numerator,
        {{ line_denominator('evaluation_year < target_year', 'baseline_denominator', 'years_to_target') }}
            as line_denominator
    from compared
),

final as (
    select
        indicator_code,
        variant,
        area_code,
        evaluation_year,
        subgroup,
        basis,
        target_operator,
        target_value,
        target_year,
        target_year_basis,
        assumption_id,
        {{ line_value('line_numerator', 'line_denominator') }} as on_track_line_value,
        {{ verdict_of('value', 'denominator') }} as verdict
    from lined
)

select * from final
