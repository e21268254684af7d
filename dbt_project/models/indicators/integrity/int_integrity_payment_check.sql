-- grain: one row per case of the rules on amounts, cards, boarders and fees (I06, I07, I10, I21)
with

paid as (select * from {{ ref('int_valid_payment') }}),
aid_status as (select * from {{ ref('int_aid_status') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
register as (select * from {{ ref('stg_pupil') }}),
poor_person as (select * from {{ ref('fct_poverty_person') }}),
enrollment as (select * from {{ ref('fct_school_enrollment') }}),
fund_flow as (select * from {{ ref('fct_fund_flow') }}),
county_semester as (select * from {{ ref('int_county_semester') }}),

-- I06: the amount of one payment against the standard that held in its semester
off_standard as (
    select
        'I06' as rule_code,
        'amount' as case_kind,
        {{ evidence(['paid.county_code', 'paid.aid_year', 'paid.payment_number']) }} as case_key,
        {{ evidence(['paid.amount_yuan', 'paid.rule_standard_yuan']) }} as evidence_text,
        paid.aid_year as evaluation_year,
        paid.county_code,
        aid_status.home_county_code,
        paid.person_token,
        paid.school_code,
        paid.entitlement_code,
        paid.semester_code,
        paid.paid_date as since_date,
        abs(paid.amount_yuan - paid.rule_standard_yuan) as amount_at_risk_yuan,
        paid.entitlement_zh || '：实发 ' || {{ as_text('paid.amount_yuan') }} || ' 元，标准 '
        || {{ as_text('paid.rule_standard_yuan') }} || ' 元' as description_zh,
        paid.entitlement_en || ': ' || {{ as_text('paid.amount_yuan') }} || ' yuan paid, the standard is '
        || {{ as_text('paid.rule_standard_yuan') }} as description_en,
        {{ one_load('paid.load_id') }} as load_ids
    from paid
    left join aid_status
        on paid.person_token = aid_status.person_token
        and paid.entitlement_code = aid_status.entitlement_code
        and paid.semester_code = aid_status.semester_code
    where abs(paid.amount_yuan - paid.rule_standard_yuan) > {{ threshold('I06', 'tolerance_yuan') }}
),

-- I07: siblings share a card; many families do not. A family is a household of the poverty list, else a guardian
household as (
    select
        poverty_year,
        person_token,
        min(county_code || ':' || household_number) as household
    from poor_person
    group by poverty_year, person_token
),

guardian as (
    select
        school_start_year,
        person_token,
        min(guardian_token) as guardian_token
    from register
    group by school_start_year, person_token
),

card_payment as (
    select
        paid.*,
        household.household,
        guardian.guardian_token,
        case when household.household is not null or county_semester.has_pupil then 1 else 0 end as is_family_known
    from paid
    left join household
        on paid.poverty_year = household.poverty_year and paid.person_token = household.person_token
    left join guardian
        on paid.school_start_year = guardian.school_start_year and paid.person_token = guardian.person_token
    left join county_semester
        on paid.county_code = county_semester.county_code and paid.semester_code = county_semester.semester_code
    where paid.card_token is not null
),

-- a pupil is of one family, also where the list has him in one semester of the year only
card_holder as (
    select
        card_token,
        aid_year,
        person_token,
        coalesce(min(household), min(guardian_token), person_token) as family
    from card_payment
    group by card_token, aid_year, person_token
    -- without list and register, siblings look like strangers
    having max(is_family_known) = 1
),

card as (
    select
        card_payment.card_token,
        card_payment.aid_year,
        count(distinct card_holder.family) as family_count,
        count(distinct card_payment.person_token) as pupil_count,
        sum(card_payment.amount_yuan) as paid_yuan,
        min(card_payment.county_code) as county_code,
        min(card_payment.school_code) as school_code,
        min(card_payment.paid_date) as since_date,
        {{ sorted_text('card_payment.person_token') }} as persons,
        {{ sorted_list('card_payment.load_id') }} as load_ids
    from card_payment
    inner join card_holder
        on card_payment.card_token = card_holder.card_token
        and card_payment.aid_year = card_holder.aid_year
        and card_payment.person_token = card_holder.person_token
    group by card_payment.card_token, card_payment.aid_year
),

shared_card as (
    select
        'I07' as rule_code,
        'card' as case_kind,
        {{ evidence(['card_token', 'aid_year']) }} as case_key,
        {{ evidence(['persons', 'paid_yuan']) }} as evidence_text,
        aid_year as evaluation_year,
        county_code,
        cast(null as {{ dbt.type_string() }}) as home_county_code,
        cast(null as {{ dbt.type_string() }}) as person_token,
        school_code,
        cast(null as {{ dbt.type_string() }}) as entitlement_code,
        cast(null as {{ dbt.type_string() }}) as semester_code,
        since_date,
        paid_yuan as amount_at_risk_yuan,
        '一个账号当年收到 ' || {{ as_text('family_count') }} || ' 个家庭 ' || {{ as_text('pupil_count') }}
        || ' 名学生的资助' as description_zh,
        'one card took the aid of ' || {{ as_text('pupil_count') }} || ' pupils of ' || {{ as_text('family_count') }}
        || ' families in the year' as description_en,
        load_ids
    from card
    where family_count > {{ threshold('I07', 'max_families') }}
),

-- I10: more persons paid for boarding than the school has boarders, by whichever count is higher
boarding as (
    select
        school_code,
        semester_code,
        min(county_code) as county_code,
        min(aid_year) as aid_year,
        min(school_start_year) as school_start_year,
        count(distinct person_token) as person_count,
        sum(amount_yuan) as paid_yuan,
        min(paid_date) as since_date,
        {{ sorted_list('load_id') }} as load_ids
    from paid
    where beneficiary = 'registered_poor_boarder'
    group by school_code, semester_code
),

boarder as (
    select
        school_code,
        school_start_year,
        count(*) as boarder_count
    from pupil
    where boarding_code = '2' and stage_code in ('primary', 'junior')
    group by school_code, school_start_year
    union all
    select
        school_code,
        school_start_year,
        sum(boarder_count) as boarder_count
    from enrollment
    where stage_code in ('primary', 'junior')
    group by school_code, school_start_year
),

most_boarders as (
    select
        school_code,
        school_start_year,
        max(boarder_count) as boarder_count
    from boarder
    group by school_code, school_start_year
),

boarding_compared as (
    select
        boarding.*,
        coalesce(most_boarders.boarder_count, 0) as boarder_count
    from boarding
    left join most_boarders
        on boarding.school_code = most_boarders.school_code
        and boarding.school_start_year = most_boarders.school_start_year
    left join county_semester
        on boarding.county_code = county_semester.county_code
        and boarding.semester_code = county_semester.semester_code
    -- without statistics and register, nobody knows the boarders
    where most_boarders.school_code is not null or county_semester.has_pupil
),

too_many_boarders as (
    select
        'I10' as rule_code,
        'boarders' as case_kind,
        {{ evidence(['school_code', 'semester_code']) }} as case_key,
        {{ evidence(['person_count', 'boarder_count', 'paid_yuan']) }} as evidence_text,
        aid_year as evaluation_year,
        county_code,
        cast(null as {{ dbt.type_string() }}) as home_county_code,
        cast(null as {{ dbt.type_string() }}) as person_token,
        school_code,
        cast(null as {{ dbt.type_string() }}) as entitlement_code,
        semester_code,
        since_date,
        round(paid_yuan * (person_count - boarder_count) / person_count, 2) as amount_at_risk_yuan,
        '领取寄宿补助 ' || {{ as_text('person_count') }} || ' 人，寄宿生 ' || {{ as_text('boarder_count') }} || ' 人'
            as description_zh,
        'paid as boarders: ' || {{ as_text('person_count') }} || '; boarders: ' || {{ as_text('boarder_count') }}
            as description_en,
        load_ids
    from boarding_compared
    where person_count > boarder_count
),

-- I21: the fee was waived, and taken
charged as (
    select
        paid.person_token,
        paid.entitlement_code,
        paid.semester_code,
        min(paid.aid_year) as evaluation_year,
        min(paid.county_code) as county_code,
        min(paid.school_code) as school_code,
        min(paid.entitlement_zh) as entitlement_zh,
        min(paid.entitlement_en) as entitlement_en,
        min(fund_flow.entry_date) as since_date,
        sum(fund_flow.amount_yuan) as fee_yuan,
        {{ sorted_text("cast(fund_flow.fiscal_year as varchar(4)) || ':' || fund_flow.entry_number") }} as entries,
        {{ sorted_list('paid.load_id') }} as payment_load_ids,
        {{ sorted_list('fund_flow.load_id') }} as fee_load_ids
    from paid
    inner join fund_flow
        on paid.student_number_token = fund_flow.payer_student_number_token
        and paid.school_code = fund_flow.recipient_school_code
        and fund_flow.entry_date between paid.start_date and paid.end_date
        and coalesce(fund_flow.entitlement_code, paid.entitlement_code) = paid.entitlement_code
    where
        paid.is_waiver and paid.component in ('tuition', 'care_fee')
        and fund_flow.movement = 'income' and fund_flow.program_code = 'fee_income'
    group by paid.person_token, paid.entitlement_code, paid.semester_code
),

waived_and_charged as (
    select
        'I21' as rule_code,
        'fee_and_waiver' as case_kind,
        {{ evidence(['charged.person_token', 'charged.entitlement_code', 'charged.semester_code']) }} as case_key,
        {{ evidence(['charged.entries', 'charged.fee_yuan']) }} as evidence_text,
        charged.evaluation_year,
        charged.county_code,
        aid_status.home_county_code,
        charged.person_token,
        charged.school_code,
        charged.entitlement_code,
        charged.semester_code,
        charged.since_date,
        charged.fee_yuan as amount_at_risk_yuan,
        charged.entitlement_zh || '：已免收，同学期又有学费收入 ' || {{ as_text('charged.fee_yuan') }} || ' 元'
            as description_zh,
        charged.entitlement_en || ': waived, and ' || {{ as_text('charged.fee_yuan') }}
        || ' yuan of fees taken in the same semester' as description_en,
        {{ merged_list('charged.payment_load_ids', 'charged.fee_load_ids') }} as load_ids
    from charged
    left join aid_status
        on charged.person_token = aid_status.person_token
        and charged.entitlement_code = aid_status.entitlement_code
        and charged.semester_code = aid_status.semester_code
),

together as (
    select * from off_standard
    union all
    select * from shared_card
    union all
    select * from too_many_boarders
    union all
    select * from waived_and_charged
),

final as (
    select
        rule_code,
        case_kind,
        case_key,
        evidence_text,
        evaluation_year,
        county_code,
        home_county_code,
        person_token,
        school_code,
        entitlement_code,
        semester_code,
        cast(null as {{ dbt.type_string() }}) as document_number,
        since_date,
        cast(amount_at_risk_yuan as numeric(14, 2)) as amount_at_risk_yuan,
        description_zh,
        description_en,
        load_ids
    from together
)

select * from final
