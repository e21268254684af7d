-- grain: one row per person × entitlement × semester that is due, was paid, or both
with

due as (select * from {{ ref('fct_entitlement_due') }}),
payment as (select * from {{ ref('fct_aid_payment') }}),
semester as (select * from {{ ref('dim_semester') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
poor_person as (select * from {{ ref('int_poor_person_roll') }}),

-- what came back, or was nothing, covers nobody
paid as (
    select
        payment.person_token,
        payment.entitlement_code,
        payment.semester_code,
        min(payment.person_key) as person_key,
        min(payment.entitlement_key) as entitlement_key,
        min(payment.semester_key) as semester_key,
        min(payment.school_key) as school_key,
        min(payment.county_code) as county_code,
        min(payment.school_code) as school_code,
        count(*) as payment_count,
        sum(payment.amount_yuan) as paid_yuan,
        min(payment.paid_date) as first_paid_date,
        {{ sorted_list('payment.load_id') }} as payment_load_ids
    from payment
    inner join semester on payment.semester_key = semester.semester_key
    where semester.is_in_scope and not payment.is_reversed and payment.amount_yuan > 0
    group by payment.person_token, payment.entitlement_code, payment.semester_code
),

not_expected as (
    select paid.*
    from paid
    left join due
        on paid.person_token = due.person_token
        and paid.semester_code = due.semester_code
        and paid.entitlement_code = due.entitlement_code
    where due.person_token is null
),

roll as (
    select
        person_token,
        school_start_year,
        home_county_code
    from pupil
    where is_primary_roll
),

poor_county as (
    select
        poverty_year,
        known_person_token as person_token,
        min(county_code) as county_code
    from poor_person
    group by poverty_year, known_person_token
),

expected as (
    select
        due.person_key,
        due.entitlement_key,
        due.semester_key,
        due.school_key,
        due.person_token,
        due.semester_code,
        due.evaluation_year,
        due.term,
        due.entitlement_code,
        due.rule_version,
        due.stage_code,
        due.grade_code,
        due.home_county_code,
        due.school_county_code,
        due.school_code,
        due.is_registered_poor,
        due.is_due_plan_strict,
        due.is_due_national_broad,
        due.is_matched,
        due.match_method,
        due.standard_yuan,
        coalesce(paid.paid_yuan, 0) as paid_yuan,
        coalesce(paid.payment_count, 0) as payment_count,
        case
            when paid.paid_yuan is null then 'missing'
            when paid.paid_yuan < due.standard_yuan then 'partly'
            when paid.paid_yuan > due.standard_yuan then 'overpaid'
            else 'paid'
        end as status,
        paid.first_paid_date,
        paid.county_code as paying_county_code,
        due.poverty_load_id,
        due.roll_load_id,
        due.recognition_load_id,
        coalesce(paid.payment_load_ids, {{ empty_list() }}) as payment_load_ids
    from due
    left join paid
        on due.person_token = paid.person_token
        and due.semester_code = paid.semester_code
        and due.entitlement_code = paid.entitlement_code
),

-- a payment that nothing entitles to belongs to the county the person comes from, as far as anybody knows
unexpected as (
    select
        not_expected.person_key,
        not_expected.entitlement_key,
        not_expected.semester_key,
        not_expected.school_key,
        not_expected.person_token,
        not_expected.semester_code,
        semester.evaluation_year,
        semester.term,
        not_expected.entitlement_code,
        cast(null as integer) as rule_version,
        cast(null as {{ dbt.type_string() }}) as stage_code,
        cast(null as {{ dbt.type_string() }}) as grade_code,
        coalesce(roll.home_county_code, poor_county.county_code, not_expected.county_code) as home_county_code,
        not_expected.county_code as school_county_code,
        not_expected.school_code,
        poor_county.person_token is not null as is_registered_poor,
        false as is_due_plan_strict,
        false as is_due_national_broad,
        roll.person_token is not null as is_matched,
        cast(null as {{ dbt.type_string() }}) as match_method,
        cast(null as numeric(12, 2)) as standard_yuan,
        not_expected.paid_yuan,
        not_expected.payment_count,
        'not_expected' as status,
        not_expected.first_paid_date,
        not_expected.county_code as paying_county_code,
        cast(null as bigint) as poverty_load_id,
        cast(null as bigint) as roll_load_id,
        cast(null as bigint) as recognition_load_id,
        not_expected.payment_load_ids
    from not_expected
    inner join semester on not_expected.semester_key = semester.semester_key
    left join roll
        on semester.school_start_year = roll.school_start_year and not_expected.person_token = roll.person_token
    left join poor_county
        on semester.poverty_year = poor_county.poverty_year
        and not_expected.person_token = poor_county.person_token
),

together as (
    select * from expected
    union all
    select * from unexpected
),

final as (
    select
        {{ surrogate_key(['person_token', 'entitlement_code', 'semester_code']) }} as aid_status_key,
        person_key,
        entitlement_key,
        semester_key,
        school_key,
        person_token,
        semester_code,
        evaluation_year,
        term,
        entitlement_code,
        rule_version,
        stage_code,
        grade_code,
        home_county_code,
        school_county_code,
        school_code,
        paying_county_code,
        is_registered_poor,
        is_due_plan_strict,
        is_due_national_broad,
        is_matched,
        match_method,
        standard_yuan,
        cast(paid_yuan as numeric(14, 2)) as paid_yuan,
        cast(payment_count as integer) as payment_count,
        payment_count > 0 as is_covered,
        status,
        first_paid_date,
        poverty_load_id,
        roll_load_id,
        recognition_load_id,
        payment_load_ids
    from together
)

select * from final
