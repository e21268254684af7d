-- grain: one row per home county × semester × entitlement × basis part: the smallest cells of student_aid_county, exact
with

aid_status as (select * from {{ ref('int_aid_status') }}),
county_term as (select * from {{ ref('int_county_term') }}),
entitlement as (select * from {{ ref('dim_entitlement') }}),
served_by as (select * from {{ ref('entitlement_indicators') }}),
indicator as (select * from {{ ref('dim_indicator') }}),

entitlement_once as (
    select
        entitlement_code,
        min(stage_code) as stage_code,
        max(case when scope = 'county_policy' then 1 else 0 end) as needs_document
    from entitlement
    group by entitlement_code
),

-- an indicator that counts the rows of one entitlement counts the same people: the same count must be rounded alike
single_indicator as (
    select
        indicator_code,
        variant,
        min(entitlement_code) as entitlement_code
    from served_by
    group by indicator_code, variant
    having count(*) = 1 and min(denominator_rule) = 'due_rows'
),

alike as (
    select
        single_indicator.entitlement_code,
        single_indicator.indicator_code,
        single_indicator.variant,
        min(case when indicator.basis <> 'national_broad' then indicator.basis end) as strict_basis,
        max(case when indicator.basis = 'national_broad' then 1 else 0 end) as has_broad
    from single_indicator
    inner join indicator
        on single_indicator.indicator_code = indicator.indicator_code
        and single_indicator.variant = indicator.variant
    group by single_indicator.entitlement_code, single_indicator.indicator_code, single_indicator.variant
),

-- who is due on the wider basis only is counted apart, so that the two bases differ by rounded counts too
counted as (
    select
        home_county_code as county_code,
        evaluation_year,
        term,
        entitlement_code,
        case
            when is_due_plan_strict then 'plan_strict'
            when is_due_national_broad then 'surplus'
            else 'not_due'
        end as basis_part,
        max(standard_yuan) as standard_yuan,
        sum(case when is_due_national_broad and is_covered then 1 else 0 end) as covered_count,
        sum(case when is_due_national_broad and not is_covered then 1 else 0 end) as missing_count,
        sum(case when is_due_national_broad then 0 else 1 end) as not_expected_count
    from aid_status
    where home_county_code is not null
    group by
        home_county_code,
        evaluation_year,
        term,
        entitlement_code,
        case
            when is_due_plan_strict then 'plan_strict'
            when is_due_national_broad then 'surplus'
            else 'not_due'
        end
),

measured as (
    select
        counted.*,
        entitlement_once.stage_code,
        counted.basis_part <> 'not_due' as is_due,
        county_term.has_poor_pupil
        and county_term.has_aid_recognition
        and county_term.has_aid_payment
        and (county_term.has_policy_document or entitlement_once.needs_document = 0) as is_measured,
        counted.county_code || '|' || cast(counted.evaluation_year as {{ dbt.type_string() }}) || '|' || counted.term
            as place
    from counted
    inner join entitlement_once on counted.entitlement_code = entitlement_once.entitlement_code
    inner join county_term
        on counted.county_code = county_term.county_code
        and counted.evaluation_year = county_term.evaluation_year
        and counted.term = county_term.subgroup
),

final as (
    select
        measured.county_code,
        measured.evaluation_year,
        measured.term,
        measured.stage_code,
        measured.entitlement_code,
        measured.basis_part,
        case
            when measured.basis_part = 'plan_strict' and alike.entitlement_code is not null
                then
                    alike.indicator_code || '|' || alike.variant || '|' || measured.place || '|' || alike.strict_basis
            when measured.basis_part = 'surplus' and alike.has_broad = 1
                then
                    alike.indicator_code || '|' || alike.variant || '|' || measured.place || '|national_broad|surplus'
            else measured.entitlement_code || '|' || measured.place || '|' || measured.basis_part
        end as people,
        measured.is_measured,
        cast(measured.standard_yuan as numeric(12, 2)) as standard_yuan,
        cast(
            case when measured.is_measured and measured.is_due then measured.covered_count end as bigint
        ) as numerator,
        cast(
            case when measured.is_measured and measured.is_due then measured.missing_count end as bigint
        ) as rest,
        cast(
            case when measured.is_measured and not measured.is_due then measured.not_expected_count end as bigint
        ) as not_expected
    from measured
    left join alike on measured.entitlement_code = alike.entitlement_code
)

select * from final
