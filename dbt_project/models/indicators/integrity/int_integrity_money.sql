-- grain: one row per case in the ledger of funds: idle, spent outside its purpose, returned to a school (I14)
with

fund_flow as (select * from {{ ref('fct_fund_flow') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),

allocation as (
    select
        county_code,
        document_number,
        min(entry_date) as allocated_date,
        sum(amount_yuan) as allocated_yuan,
        {{ sorted_list('load_id') }} as load_ids
    from fund_flow
    where movement = 'allocated' and document_number is not null
    group by county_code, document_number
),

-- what the ledger covers: a day after its last year cannot be judged
last_day as (
    select max(evaluation_year.poverty_snapshot_date) as ledger_end_date
    from fund_flow
    inner join evaluation_year on fund_flow.fiscal_year = evaluation_year.fiscal_year
),

due as (
    select
        allocation.*,
        {{ months_later('allocation.allocated_date', threshold('I14', 'idle_months')) }} as idle_from_date
    from allocation
),

spent as (
    select
        due.county_code,
        due.document_number,
        sum(case when fund_flow.entry_date < due.idle_from_date then fund_flow.amount_yuan else 0 end) as spent_yuan,
        {{ sorted_list('fund_flow.load_id') }} as load_ids
    from due
    inner join fund_flow
        on due.county_code = fund_flow.county_code
        and due.document_number = fund_flow.document_number
        and fund_flow.movement in ('paid', 'returned')
    group by due.county_code, due.document_number
),

idle as (
    select
        'idle' as case_kind,
        {{ evidence(["'idle'", 'due.county_code', 'due.document_number']) }} as case_key,
        {{ evidence(['due.allocated_date', 'due.allocated_yuan', 'coalesce(spent.spent_yuan, 0)']) }} as evidence_text,
        evaluation_year.evaluation_year,
        due.county_code,
        cast(null as {{ dbt.type_string() }}) as school_code,
        cast(null as {{ dbt.type_string() }}) as entitlement_code,
        due.document_number,
        due.idle_from_date as since_date,
        due.allocated_yuan - coalesce(spent.spent_yuan, 0) as amount_at_risk_yuan,
        '下达 ' || {{ as_text('due.allocated_yuan') }} || ' 元，期满仍有 '
        || {{ as_text('due.allocated_yuan - coalesce(spent.spent_yuan, 0)') }} || ' 元未支付' as description_zh,
        {{ as_text('due.allocated_yuan') }} || ' yuan allocated, '
        || {{ as_text('due.allocated_yuan - coalesce(spent.spent_yuan, 0)') }} || ' still unspent after the limit'
            as description_en,
        {{ merged_list('due.load_ids', 'spent.load_ids') }} as load_ids
    from due
    left join spent
        on due.county_code = spent.county_code and due.document_number = spent.document_number
    inner join evaluation_year
        on {{ year_of('due.idle_from_date') }} = evaluation_year.fiscal_year
    cross join last_day
    cross join (select {{ threshold('I14', 'idle_percent') }} as percent) as bound
    where
        due.idle_from_date <= last_day.ledger_end_date
        and (due.allocated_yuan - coalesce(spent.spent_yuan, 0)) * 100 > due.allocated_yuan * bound.percent
),

-- what a document was allocated for
purpose as (
    select distinct  -- a document may come in several parts of one purpose
        county_code,
        document_number,
        program_code,
        fund_stage
    from fund_flow
    where movement = 'allocated' and document_number is not null
),

outside_scope as (
    select
        'outside_scope' as case_kind,
        {{ evidence(["'outside_scope'", 'fund_flow.county_code', 'fund_flow.fiscal_year', 'fund_flow.entry_number']) }}
            as case_key,
        {{ evidence(['fund_flow.document_number', 'fund_flow.program_code', 'fund_flow.fund_stage',
            'fund_flow.amount_yuan']) }} as evidence_text,
        fund_flow.fiscal_year as evaluation_year,
        fund_flow.county_code,
        fund_flow.recipient_school_code as school_code,
        fund_flow.entitlement_code,
        fund_flow.document_number,
        fund_flow.entry_date as since_date,
        fund_flow.amount_yuan as amount_at_risk_yuan,
        '支付用途与文件下达的项目或学段不同' as description_zh,
        'paid for another program or stage than the document was allocated for' as description_en,
        {{ one_load('fund_flow.load_id') }} as load_ids
    from fund_flow
    inner join allocation
        on fund_flow.county_code = allocation.county_code and fund_flow.document_number = allocation.document_number
    left join purpose
        on fund_flow.county_code = purpose.county_code
        and fund_flow.document_number = purpose.document_number
        and fund_flow.program_code = purpose.program_code
        and coalesce(fund_flow.fund_stage, purpose.fund_stage, '-1')
        = coalesce(purpose.fund_stage, fund_flow.fund_stage, '-1')
    where fund_flow.movement = 'paid' and purpose.document_number is null
),

school_account as (
    select
        'school_account' as case_kind,
        {{ evidence(["'school_account'", 'county_code', 'fiscal_year', 'entry_number']) }} as case_key,
        {{ evidence(['document_number', 'recipient_school_code', 'amount_yuan']) }} as evidence_text,
        fiscal_year as evaluation_year,
        county_code,
        recipient_school_code as school_code,
        entitlement_code,
        document_number,
        entry_date as since_date,
        amount_yuan as amount_at_risk_yuan,
        '退回资金进入学校账户，没有退回财政' as description_zh,
        'money came back to the account of a school, not to the treasury' as description_en,
        {{ one_load('load_id') }} as load_ids
    from fund_flow
    where movement = 'returned' and recipient_school_code is not null
),

together as (
    select * from idle
    union all
    select * from outside_scope
    union all
    select * from school_account
),

final as (
    select
        'I14' as rule_code,
        case_kind,
        case_key,
        evidence_text,
        evaluation_year,
        county_code,
        cast(null as {{ dbt.type_string() }}) as home_county_code,
        cast(null as {{ dbt.type_string() }}) as person_token,
        school_code,
        entitlement_code,
        cast(null as {{ dbt.type_string() }}) as semester_code,
        document_number,
        since_date,
        cast(amount_at_risk_yuan as numeric(14, 2)) as amount_at_risk_yuan,
        description_zh,
        description_en,
        load_ids
    from together
)

select * from final
