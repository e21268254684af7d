-- grain: one row per school × fiscal year × kind of special-education operating grant: pupils, due and paid
with

fund_flow as (select * from {{ ref('fct_fund_flow') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
school as (select * from {{ ref('dim_school') }}),
school_type as (select * from {{ ref('school_types') }}),
entitlement as (select * from {{ ref('dim_entitlement') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

paid as (
    select
        fund_flow.recipient_school_code as school_code,
        fund_flow.fiscal_year,
        coalesce(fund_flow.grant_kind, 'unspecified') as grant_kind,
        min(coalesce(area.current_county_code, fund_flow.recipient_county_code, fund_flow.county_code)) as county_code,
        min(fund_flow.school_key) as school_key,
        sum(fund_flow.amount_yuan) as paid_yuan,
        max(fund_flow.pupil_count) as claimed_pupil_count,
        {{ sorted_list('fund_flow.load_id') }} as fund_load_ids,
        min(fund_flow.load_id) as load_id
    from fund_flow
    left join area on fund_flow.recipient_county_code = area.from_area_code
    where
        fund_flow.program_code = 'special_operating_grant'
        and fund_flow.movement = 'paid'
        and fund_flow.recipient_school_code is not null
    group by
        fund_flow.recipient_school_code, fund_flow.fiscal_year, coalesce(fund_flow.grant_kind, 'unspecified')
),

-- a pupil of a special school and a pupil taught in an ordinary one earn the grant for different schools
special_pupil as (
    select
        pupil.school_key,
        pupil.school_code,
        pupil.county_code,
        pupil.school_start_year,
        'special_school' as grant_kind,
        pupil.load_id
    from pupil
    inner join school on pupil.school_key = school.school_key
    inner join school_type on school.school_type_code = school_type.school_type_code
    where pupil.is_primary_roll and school_type.category_code = 'special' and not school_type.is_attached_class
    union all
    select
        school_key,
        school_code,
        county_code,
        school_start_year,
        'inclusive' as grant_kind,
        load_id
    from pupil
    where is_primary_roll and is_inclusive_education
),

counted as (
    select
        special_pupil.school_code,
        evaluation_year.fiscal_year,
        special_pupil.grant_kind,
        min(special_pupil.county_code) as county_code,
        min(special_pupil.school_key) as school_key,
        count(*) as pupil_count,
        {{ sorted_list('special_pupil.load_id') }} as roll_load_ids,
        min(special_pupil.load_id) as load_id
    from special_pupil
    inner join evaluation_year on special_pupil.school_start_year = evaluation_year.school_start_year
    group by special_pupil.school_code, evaluation_year.fiscal_year, special_pupil.grant_kind
),

-- yuan a pupil and year; null before the standard of the plan begins
standard as (
    select
        evaluation_year.fiscal_year,
        max(entitlement.standard_yuan) as standard_yuan
    from evaluation_year
    inner join entitlement
        on {{ semester_order('evaluation_year.fiscal_year', "'spring'") }} >= entitlement.from_semester_order
        and {{ semester_order('evaluation_year.fiscal_year', "'spring'") }}
        <= coalesce(entitlement.to_semester_order, {{ semester_order('evaluation_year.fiscal_year', "'spring'") }})
    where
        entitlement.component = 'operating_grant'
        and entitlement.beneficiary = 'disabled_pupil'
        and entitlement.frequency = 'year'
    group by evaluation_year.fiscal_year
),

together as (
    select
        coalesce(counted.school_key, paid.school_key) as school_key,
        coalesce(counted.school_code, paid.school_code) as school_code,
        coalesce(counted.fiscal_year, paid.fiscal_year) as fiscal_year,
        coalesce(counted.grant_kind, paid.grant_kind) as grant_kind,
        coalesce(counted.county_code, paid.county_code) as county_code,
        cast(coalesce(counted.pupil_count, 0) as integer) as pupil_count,
        paid.claimed_pupil_count,
        coalesce(paid.paid_yuan, 0) as paid_yuan,
        coalesce(paid.fund_load_ids, {{ empty_list() }}) as fund_load_ids,
        coalesce(counted.roll_load_ids, {{ empty_list() }}) as roll_load_ids,
        coalesce(paid.load_id, counted.load_id) as load_id
    from counted
    full outer join paid
        on counted.school_code = paid.school_code
        and counted.fiscal_year = paid.fiscal_year
        and counted.grant_kind = paid.grant_kind
),

final as (
    select
        {{ surrogate_key(['together.school_code', 'together.fiscal_year', 'together.grant_kind']) }}
            as operating_grant_key,
        together.school_key,
        together.school_code,
        together.fiscal_year,
        together.grant_kind,
        together.county_code,
        together.pupil_count,
        cast(together.claimed_pupil_count as integer) as claimed_pupil_count,
        standard.standard_yuan,
        cast(together.pupil_count * standard.standard_yuan as numeric(20, 2)) as due_yuan,
        cast(together.paid_yuan as numeric(20, 2)) as paid_yuan,
        together.fund_load_ids,
        together.roll_load_ids,
        together.load_id
    from together
    left join standard on together.fiscal_year = standard.fiscal_year
)

select * from final
