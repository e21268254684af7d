-- grain: one row per aid year × loan contract
with

loan as (select * from {{ ref('stg_student_loan') }}),
person as (select * from {{ ref('dim_person') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

final as (
    select
        {{ surrogate_key(['loan.aid_year', 'loan.contract_number']) }} as student_loan_key,
        coalesce(person.person_key, {{ unknown_key() }}) as person_key,
        loan.aid_year,
        loan.contract_number,
        coalesce(area.current_county_code, loan.county_code) as county_code,
        loan.person_token,
        loan.token_basis,
        loan.institution_code,
        loan.is_in_region,
        loan.student_level,
        loan.applied_on as applied_date,
        loan.decision,
        loan.decision = 'granted' as is_granted,
        loan.amount_yuan,
        loan.is_registered_poor as is_marked_registered_poor,
        loan.load_id
    from loan
    left join person on loan.person_token = person.person_token
    left join area on loan.county_code = area.from_area_code
)

select * from final
