-- grain: one row per indicator × variant × area × evaluation year × subgroup × basis
with

indicator_value as (select * from {{ ref('fct_indicator_value') }}),
indicator_verdict as (select * from {{ ref('fct_indicator_verdict') }}),
indicator as (select * from {{ ref('dim_indicator') }}),
reporting_area as (select * from {{ ref('dim_reporting_area') }}),
population_used as (select * from {{ ref('bridge_evaluation_year_population') }}),
disclosure_policy as (select * from {{ ref('disclosure_policy') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),
decision as (select * from {{ source('disclosure', 'decision') }}),

described as (
    select
        indicator_value.indicator_code,
        indicator_value.variant,
        indicator_value.area_code,
        indicator_value.evaluation_year,
        indicator_value.subgroup,
        indicator_value.basis,
        evaluation_year.is_baseline,
        indicator.is_headline and indicator_value.subgroup = 'all' as is_headline,
        reporting_area.area_name,
        reporting_area.area_level,
        reporting_area.parent_area_code,
        reporting_area.is_plan_county,
        indicator.name_zh,
        indicator.name_en,
        indicator.unit,
        indicator.unit_scale,
        indicator.decimals,
        population_used.population_vintage,
        indicator_value.numerator,
        indicator_value.denominator,
        indicator_value.value_reason,
        indicator_value.method_version,
        indicator.source_feeds,
        indicator_verdict.target_operator,
        indicator_verdict.target_value,
        indicator_verdict.target_year,
        indicator_verdict.target_year_basis,
        indicator_verdict.assumption_id,
        indicator_verdict.on_track_line_value,
        indicator_verdict.verdict,
        -- unrounded fraction to four decimals of the unit; the verdict does not rest on it
        cast(
            cast(indicator_value.numerator as numeric(38, 10)) * indicator.unit_scale
            / case when indicator.measure_type = 'count' then 1 else nullif(indicator_value.denominator, 0) end
            as numeric(20, 4)
        ) as value,
        -- fails closed: a sensitive cell that nobody decided on is withheld
        case
            when disclosure_policy.min_cell_count = 0 then 'F'
            else coalesce(decision.conf_status, 'D')
        end as conf_status,
        case when disclosure_policy.min_cell_count > 0 then decision.value_bound end as value_bound
    from indicator_value
    inner join indicator_verdict
        on indicator_value.indicator_code = indicator_verdict.indicator_code
        and indicator_value.variant = indicator_verdict.variant
        and indicator_value.area_code = indicator_verdict.area_code
        and indicator_value.evaluation_year = indicator_verdict.evaluation_year
        and indicator_value.subgroup = indicator_verdict.subgroup
        and indicator_value.basis = indicator_verdict.basis
    inner join indicator
        on indicator_value.indicator_code = indicator.indicator_code
        and indicator_value.variant = indicator.variant
        and indicator_value.basis = indicator.basis
    inner join evaluation_year on indicator_value.evaluation_year = evaluation_year.evaluation_year
    inner join reporting_area on indicator_value.area_code = reporting_area.area_code
    inner join disclosure_policy on indicator.disclosure_class = disclosure_policy.disclosure_class
    left join population_used
        on indicator_value.evaluation_year = population_used.evaluation_year
        and indicator_value.basis = population_used.population_basis
    left join decision
        on decision.release_year = {{ var('evaluation_year') }}
        and indicator_value.indicator_code = decision.indicator_code
        and indicator_value.variant = decision.variant
        and indicator_value.area_code = decision.area_code
        and indicator_value.evaluation_year = decision.evaluation_year
        and indicator_value.subgroup = decision.subgroup
        and indicator_value.basis = decision.basis
    where indicator.is_in_county_mart and indicator_value.evaluation_year <= {{ var('evaluation_year') }}
),

-- everything derived below is computed from what may be shown, so that nothing hidden can be computed back
shown as (
    select
        indicator_code,
        variant,
        area_code,
        evaluation_year,
        subgroup,
        basis,
        is_headline,
        area_name,
        area_level,
        parent_area_code,
        is_plan_county,
        name_zh,
        name_en,
        unit,
        decimals,
        population_vintage,
        is_baseline,
        conf_status <> 'F' as is_suppressed,
        conf_status,
        value_bound,
        cast(case when conf_status = 'F' then numerator end as numeric(38, 0)) as numerator,
        cast(case when conf_status = 'F' then denominator end as numeric(38, 0)) as denominator,
        cast(case when conf_status = 'F' then value end as numeric(20, 4)) as value,
        case when conf_status = 'F' then value_reason end as value_reason,
        target_operator,
        target_value,
        target_year,
        target_year_basis,
        assumption_id,
        on_track_line_value,
        verdict,
        method_version,
        source_feeds
    from described
),

compared as (
    select
        shown.*,
        lag(evaluation_year) over (
            partition by indicator_code, variant, area_code, subgroup, basis order by evaluation_year
        ) = evaluation_year - 1 as has_prior_year,
        lag(value) over (
            partition by indicator_code, variant, area_code, subgroup, basis order by evaluation_year
        ) as prior_value,
        lag(population_vintage) over (
            partition by indicator_code, variant, area_code, subgroup, basis order by evaluation_year
        ) as prior_population_vintage,
        max(case when area_level = 'region' then value end) over (
            partition by indicator_code, variant, evaluation_year, subgroup, basis
        ) as region_value,
        max(case when is_baseline and is_suppressed then 1 else 0 end) over (
            partition by indicator_code, variant, area_code, subgroup, basis
        ) as is_baseline_hidden
    from shown
),

final as (
    select
        indicator_code,
        variant,
        area_code,
        evaluation_year,
        subgroup,
        basis,
        is_headline,
        area_name,
        area_level,
        parent_area_code,
        is_plan_county,
        name_zh,
        name_en,
        unit,
        decimals,
        population_vintage,
        numerator,
        denominator,
        value,
        value_reason,
        cast(case when has_prior_year then prior_value end as numeric(20, 4)) as prior_year_value,
        cast(case when has_prior_year then value - prior_value end as numeric(20, 4)) as change_from_prior_year,
        cast(region_value as numeric(20, 4)) as region_value,
        cast(value - region_value as numeric(20, 4)) as gap_to_region,
        target_operator,
        target_value,
        target_year,
        target_year_basis,
        assumption_id,
        -- the line before the target year starts at the baseline value and would give a hidden one away
        cast(
            case when evaluation_year >= target_year or is_baseline_hidden = 0 then on_track_line_value end
            as numeric(20, 4)
        ) as on_track_line_value,
        -- so would a verdict that compares with the line; one that is reached says nothing of the baseline
        case
            when is_suppressed then 'suppressed'
            when is_baseline_hidden = 1 and evaluation_year < target_year and verdict <> 'met' then 'not_measurable'
            else verdict
        end as verdict,
        conf_status,
        case
            when value_reason is not null then 'M'
            when has_prior_year and population_vintage <> prior_population_vintage then 'B'
            else 'A'
        end as obs_status,
        method_version,
        source_feeds,
        value_bound
    from compared
)

select * from final
