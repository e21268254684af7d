-- grain: one row per payment that counts: neither reversed nor nothing, with what its semester and entitlement say
with

payment as (select * from {{ ref('fct_aid_payment') }}),
semester as (select * from {{ ref('dim_semester') }}),
entitlement as (select * from {{ ref('dim_entitlement') }}),
school_year as (select * from {{ ref('dim_school_year') }}),

-- money that came back is nobody's: what was reversed, and paid again, was paid once
final as (
    select
        payment.aid_payment_key,
        payment.entitlement_key,
        payment.semester_key,
        payment.person_token,
        payment.student_number_token,
        payment.aid_year,
        payment.semester_code,
        payment.payment_number,
        payment.county_code,
        payment.school_code,
        payment.entitlement_code,
        payment.is_waiver,
        payment.amount_yuan,
        payment.paid_date,
        payment.card_token,
        semester.school_start_year,
        semester.poverty_year,
        semester.cut_off_date,
        semester.start_date,
        semester.end_date,
        school_year.snapshot_date,
        entitlement.name_zh as entitlement_zh,
        entitlement.name_en as entitlement_en,
        entitlement.beneficiary,
        entitlement.component,
        entitlement.stage_code as entitlement_stage,
        entitlement.standard_yuan as rule_standard_yuan,
        payment.load_id
    from payment
    inner join semester on payment.semester_key = semester.semester_key
    inner join school_year on semester.school_start_year = school_year.school_start_year
    inner join entitlement on payment.entitlement_key = entitlement.entitlement_key
    where semester.is_in_scope and not payment.is_reversed and payment.amount_yuan > 0
)

select * from final
