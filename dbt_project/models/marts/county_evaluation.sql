-- grain: one row per indicator × variant × area × evaluation year × subgroup × basis
with

indicator_value as (select * from {{ ref('fct_indicator_value') }}),
indicator_verdict as (select * from {{ ref('fct_indicator_verdict') }}),
indicator as (select * from {{ ref('dim_indicator') }}),
reporting_area as (select * from {{ ref('dim_reporting_area') }}),
population_used as (select * from {{ ref('bridge_evaluation_year_population') }}),
disclosure_policy as (select * from {{ ref('disclosure_policy') }}),
disclosure_structure as (select * from {{ ref('disclosure_structure') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),
decision as (select * from {{ source('disclosure', 'decision') }}),

rounded as (
    {{ rounded_counts(
        'county_evaluation',
        ['indicator_code', 'variant', 'area_code', 'year_text', 'subgroup', 'basis'],
        ['numerator', 'denominator']
    ) | indent(4) }}
),

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
        -- a dense indicator shows rounded figures only
        case when disclosure_policy.rounding_base is null then indicator_value.numerator else rounded.numerator end
            as numerator,
        case when disclosure_policy.rounding_base is null then indicator_value.denominator else rounded.denominator end
            as denominator,
        case
            when disclosure_structure.money_unit = 'fen' then 100 * disclosure_policy.money_base_yuan
            when disclosure_structure.money_unit = 'yuan' then disclosure_policy.money_base_yuan
            else disclosure_policy.rounding_base
        end as rounding_base,
        indicator.measure_type,
        indicator.direction,
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
        -- fails closed: a sensitive cell that nobody decided on is withheld, and a dense one that nobody rounded
        case
            when disclosure_policy.rounding_base is not null
                then
                    case
                        when rounded.numerator is not null or indicator_value.value_reason = 'not_measurable' then 'F'
                        else 'D'
                    end
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
    left join disclosure_structure
        on indicator_value.indicator_code = disclosure_structure.indicator_code
        and indicator_value.variant = disclosure_structure.variant
        and indicator_value.basis = disclosure_structure.basis
    left join rounded
        on indicator_value.indicator_code = rounded.indicator_code
        and indicator_value.variant = rounded.variant
        and indicator_value.area_code = rounded.area_code
        and cast(indicator_value.evaluation_year as {{ dbt.type_string() }}) = rounded.year_text
        and indicator_value.subgroup = rounded.subgroup
        and indicator_value.basis = rounded.basis
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

-- unrounded fraction to four decimals of the unit; the verdict does not rest on it
valued as (
    select
        described.*,
        cast(
            cast(numerator as numeric(38, 10)) * unit_scale
            / case when measure_type = 'count' then 1 else nullif(denominator, 0) end
            as numeric(20, 4)
        ) as value
    from described
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
        source_feeds,
        rounding_base,
        unit_scale,
        direction
    from valued
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
        ) as is_baseline_hidden,
        max(case when is_baseline then evaluation_year end) over (
            partition by indicator_code, variant, area_code, subgroup, basis
        ) as baseline_year,
        max(case when is_baseline and value is not null then numerator end) over (
            partition by indicator_code, variant, area_code, subgroup, basis
        ) as baseline_numerator,
        max(case when is_baseline and value is not null then coalesce(denominator, 1) end) over (
            partition by indicator_code, variant, area_code, subgroup, basis
        ) as baseline_denominator
    from shown
),

-- line and verdict of a rounded series follow from the figures shown, as those of the others from the exact ones
lined as (
    select
        compared.*,
        {{ target_reached('target_operator', 'unit_scale', 'numerator', 'target_value', 'coalesce(denominator, 1)') }}
            as is_reached,
        {{ line_numerator('evaluation_year < target_year', 'unit_scale', 'baseline_numerator', 'baseline_denominator',
                          'target_value', '(evaluation_year - baseline_year)', '(target_year - baseline_year)') }}
            as line_numerator,
        {{ line_denominator('evaluation_year < target_year', 'baseline_denominator', '(target_year - baseline_year)') }}
            as line_denominator
    from compared
),

judged as (
    select
        lined.*,
        case
            when rounding_base is null then on_track_line_value
            else {{ line_value('line_numerator', 'line_denominator') }}
        end as shown_line_value,
        case
            when rounding_base is null then verdict
            else {{ verdict_of('value', 'coalesce(denominator, 1)') | indent(12) }}
        end as shown_verdict
    from lined
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
            case when evaluation_year >= target_year or is_baseline_hidden = 0 then shown_line_value end
            as numeric(20, 4)
        ) as on_track_line_value,
        -- so would a verdict that compares with the line; one that is reached says nothing of the baseline
        case
            when is_suppressed then 'suppressed'
            when is_baseline_hidden = 1 and evaluation_year < target_year and shown_verdict <> 'met'
                then 'not_measurable'
            else shown_verdict
        end as verdict,
        conf_status,
        case
            when value_reason is not null then 'M'
            when has_prior_year and population_vintage <> prior_population_vintage then 'B'
            else 'A'
        end as obs_status,
        method_version,
        source_feeds,
        value_bound,
        rounding_base
    from judged
)

select * from final
