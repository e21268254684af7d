-- grain: one row per component of an entitlement × rule version, with the semesters that it holds for
with

entitlement as (select * from {{ ref('entitlements') }}),
assumption as (select * from {{ ref('assumptions') }}),
semester as (select * from {{ ref('dim_semester') }}),

-- a start whose year is redacted takes the assumed one
dated as (
    select
        entitlement.*,
        case
            when entitlement.from_assumption_id is not null then cast(assumption.assumed_value as integer)
            else entitlement.from_year
        end as first_year
    from entitlement
    left join assumption on entitlement.from_assumption_id = assumption.assumption_id
),

ordered as (
    select
        dated.*,
        {{ semester_order('first_year', 'from_term') }} as from_semester_order,
        {{ semester_order('to_year', 'to_term') }} as to_semester_order
    from dated
),

-- half-open: valid up to the first day of the semester after the last
final as (
    select
        {{ surrogate_key(['ordered.entitlement_code', 'ordered.rule_version']) }} as entitlement_key,
        ordered.entitlement_code,
        ordered.rule_version,
        ordered.plan_entitlement,
        ordered.plan_row,
        ordered.tier,
        ordered.stage_code,
        ordered.component,
        ordered.name_zh,
        ordered.name_en,
        ordered.beneficiary,
        ordered.grade_codes,
        ordered.scope,
        ordered.scope_except,
        ordered.frequency,
        ordered.standard_yuan,
        ordered.payer,
        ordered.payment_unit,
        ordered.from_semester_order,
        ordered.to_semester_order,
        first_semester.start_date as valid_from_date,
        semester_after.start_date as valid_to_date,
        ordered.from_basis,
        ordered.from_assumption_id as assumption_id,
        ordered.amount_basis,
        ordered.definition_source,
        ordered.display_order
    from ordered
    left join semester as first_semester on ordered.from_semester_order = first_semester.semester_order
    left join semester as semester_after on ordered.to_semester_order + 1 = semester_after.semester_order
)

select * from final
