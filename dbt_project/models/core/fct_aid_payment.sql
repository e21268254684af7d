-- grain: one row per aid year × paying county × payment number (payments and waivers, reversed ones included)
with

payment as (select * from {{ ref('stg_aid_payment') }}),
student_identifier as (select * from {{ ref('bridge_student_identifier') }}),
semester as (select * from {{ ref('dim_semester') }}),
entitlement as (select * from {{ ref('dim_entitlement') }}),
school as (select * from {{ ref('dim_school') }}),
person as (select * from {{ ref('dim_person') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

latest_identifier as (select * from student_identifier where is_latest_person),

-- a row without an ID number is known by its student number
identified as (
    select
        payment.*,
        {{ resolved_person('payment') }}
    from payment
    left join latest_identifier
        on payment.student_number_token = latest_identifier.student_number_token
        and payment.token_basis <> 'id_number'
),

-- the version of the rule that held in the semester; a payment before its start is dated by the first version
entitlement_semester as (
    select
        semester.semester_key,
        entitlement.entitlement_code,
        entitlement.entitlement_key,
        row_number() over (
            partition by semester.semester_key, entitlement.entitlement_code
            order by
                case when semester.semester_order >= coalesce(entitlement.from_semester_order, 0) then 0 else 1 end asc,
                case
                    when semester.semester_order <= coalesce(entitlement.to_semester_order, semester.semester_order)
                        then 0
                    else 1
                end asc,
                entitlement.from_semester_order asc nulls first,
                entitlement.rule_version asc
        ) as preference
    from semester
    cross join entitlement
),

final as (
    select
        {{ surrogate_key(['identified.aid_year', 'identified.county_code', 'identified.payment_number']) }}
            as aid_payment_key,
        coalesce(person.person_key, {{ unknown_key() }}) as person_key,
        coalesce(entitlement_semester.entitlement_key, {{ unknown_key() }}) as entitlement_key,
        semester.semester_key,
        coalesce(school.school_key, {{ unknown_key() }}) as school_key,
        identified.resolved_person_token as person_token,
        identified.resolved_token_basis as token_basis,
        identified.student_number_token,
        identified.aid_year,
        identified.term,
        semester.semester_code,
        identified.payment_number,
        identified.batch_number,
        coalesce(area.current_county_code, identified.county_code) as county_code,
        identified.school_code,
        identified.entitlement_code,
        identified.payment_type,
        identified.payment_type = 'waiver' as is_waiver,
        coalesce(identified.is_reversed, false) as is_reversed,
        identified.standard_yuan,
        identified.amount_yuan,
        identified.paid_on as paid_date,
        identified.card_token,
        identified.cardholder_token,
        identified.cardholder_relation,
        identified.load_id
    from identified
    inner join semester
        on identified.aid_year = semester.evaluation_year and identified.term = semester.term
    left join entitlement_semester
        on semester.semester_key = entitlement_semester.semester_key
        and identified.entitlement_code = entitlement_semester.entitlement_code
        and entitlement_semester.preference = 1
    left join person on identified.resolved_person_token = person.person_token
    left join area on identified.county_code = area.from_area_code
    left join school
        on identified.school_code = school.school_code
        and semester.cut_off_date >= school.valid_from_date
        and semester.cut_off_date < coalesce(school.valid_to_date, cast('9999-12-31' as date))
)

select * from final
