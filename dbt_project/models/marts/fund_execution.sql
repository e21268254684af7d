-- grain: one row per area × fiscal year × program of funds: how far the money went (yuan, exact)
with

fund_flow as (select * from {{ ref('fct_fund_flow') }}),
flag as (select * from {{ ref('fct_integrity_flag') }}),
program as (select * from {{ ref('fund_programs') }}),
rollup_area as (select * from {{ ref('bridge_area_rollup') }}),
reporting_area as (select * from {{ ref('dim_reporting_area') }}),
area_group as (select * from {{ ref('dim_area_group') }}),

moved as (
    select
        county_code,
        fiscal_year,
        program_code,
        movement,
        amount_yuan
    from fund_flow
    where movement in ('allocated', 'arrived', 'paid', 'returned')
),

document_program as (
    select
        county_code,
        document_number,
        min(program_code) as program_code
    from fund_flow
    where movement = 'allocated' and document_number is not null
    group by county_code, document_number
),

-- what lies idle belongs to the year in which its time was up
idle as (
    select
        flag.county_code,
        flag.evaluation_year as fiscal_year,
        document_program.program_code,
        'idle' as movement,
        flag.amount_at_risk_yuan as amount_yuan
    from flag
    inner join document_program
        on flag.county_code = document_program.county_code
        and flag.document_number = document_program.document_number
    where flag.case_kind = 'idle'
),

together as (
    select * from moved
    union all
    select * from idle
),

final as (
    select
        rollup_area.area_code,
        together.fiscal_year,
        together.program_code,
        program.name_zh as program_name_zh,
        program.name_en as program_name_en,
        reporting_area.area_name,
        reporting_area.area_level,
        reporting_area.parent_area_code,
        cast(sum(case when together.movement = 'allocated' then together.amount_yuan else 0 end) as numeric(20, 2))
            as allocated_yuan,
        cast(sum(case when together.movement = 'arrived' then together.amount_yuan else 0 end) as numeric(20, 2))
            as arrived_yuan,
        cast(sum(case when together.movement = 'paid' then together.amount_yuan else 0 end) as numeric(20, 2))
            as paid_yuan,
        cast(sum(case when together.movement = 'returned' then together.amount_yuan else 0 end) as numeric(20, 2))
            as returned_yuan,
        cast(sum(case when together.movement = 'idle' then together.amount_yuan else 0 end) as numeric(20, 2))
            as idle_yuan
    from together
    inner join program on together.program_code = program.program_code
    inner join rollup_area on together.county_code = rollup_area.county_code
    inner join reporting_area on rollup_area.area_code = reporting_area.area_code
    left join area_group on rollup_area.area_code = area_group.group_code
    where
        together.fiscal_year <= {{ var('evaluation_year') }}
        and (rollup_area.area_level <> 'group' or area_group.needs_preschool_priority is null)
    group by
        rollup_area.area_code, together.fiscal_year, together.program_code, program.name_zh, program.name_en,
        reporting_area.area_name, reporting_area.area_level, reporting_area.parent_area_code
)

select * from final
