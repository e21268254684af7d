-- grain: one row per year, county of the paying school and payment number, as now known
with

record as (select * from {{ source('landing', 'aid_payment') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        aid_year,
        county_code,
        payment_number,
        term,
        batch_number,
        school_code,
        student_number_token,
        id_type,
        person_token,
        token_basis,
        entitlement_code,
        payment_type,
        cast(standard_yuan as numeric(12, 2)) as standard_yuan,
        cast(amount_yuan as numeric(12, 2)) as amount_yuan,
        paid_on,
        card_token,
        cardholder_token,
        cardholder_relation,
        coalesce(is_reversed, false) as is_reversed,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
