-- grain: one row per indicator × variant × area × evaluation year × subgroup × basis (A6.12, A6.13, A7.4, A7.11)
with

county_year as (select * from {{ ref('int_county_year') }}),
feed_coverage as (select * from {{ ref('int_feed_coverage') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),
area as (select * from {{ ref('dim_area') }}),
document as (select * from {{ ref('fct_org_document') }}),
operating_grant as (select * from {{ ref('fct_operating_grant') }}),

county_frame as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        county_year.has_pupil,
        policy_delivered.row_count is not null as has_policy_document,
        ledger_delivered.row_count is not null as has_fund_ledger
    from county_year
    left join feed_coverage as policy_delivered
        on policy_delivered.feed = 'policy_document'
        and county_year.county_code = policy_delivered.county_code
        and county_year.evaluation_year = policy_delivered.coverage_year
    left join feed_coverage as ledger_delivered
        on ledger_delivered.feed = 'fund_ledger'
        and county_year.county_code = ledger_delivered.county_code
        and county_year.evaluation_year = ledger_delivered.coverage_year
),

-- documents in force at the end of the year
in_force as (
    select
        evaluation_year.evaluation_year,
        document.area_code,
        document.document_type,
        min(document.load_id) as load_id
    from evaluation_year
    inner join document
        on evaluation_year.poverty_snapshot_date >= document.effective_from_date
        and evaluation_year.poverty_snapshot_date <= coalesce(document.effective_to_date, cast('9999-12-31' as date))
    group by evaluation_year.evaluation_year, document.area_code, document.document_type
),

-- that there is no document is known from all files of the feed: a later one may tell of an earlier start
looked_at as (select {{ sorted_list('load_id') }} as load_ids from document),

-- A6.12: the region has a scheme or it has not
region_frame as (
    select
        region.area_code,
        county_frame.evaluation_year,
        max(case when county_frame.has_policy_document then 1 else 0 end) = 1 as has_policy_document
    from area as region
    cross join county_frame
    where region.area_level = 'region' and region.is_current
    group by region.area_code, county_frame.evaluation_year
),

scheme as (
    select
        area_code,
        evaluation_year,
        {{ sorted_list('load_id') }} as load_ids
    from in_force
    where document_type = 'insurance_scheme'
    group by area_code, evaluation_year
),

a6_12 as (
    select
        'A6.12' as indicator_code,
        'scheme_issued' as variant,
        region_frame.area_code,
        region_frame.evaluation_year,
        case
            when region_frame.has_policy_document then case when scheme.area_code is null then 0 else 1 end
        end as numerator,
        case when region_frame.has_policy_document then 1 end as denominator,
        coalesce(scheme.load_ids, {{ empty_list() }}) as numerator_load_ids,
        case when region_frame.has_policy_document then looked_at.load_ids else {{ empty_list() }} end
            as denominator_load_ids
    from region_frame
    cross join looked_at
    left join scheme
        on region_frame.area_code = scheme.area_code and region_frame.evaluation_year = scheme.evaluation_year
),

-- A6.13: the three documents of the county itself make the system
risk_document as (
    select
        area_code,
        evaluation_year,
        count(distinct document_type) as document_count,
        {{ sorted_list('load_id') }} as load_ids
    from in_force
    where document_type in ('risk_service_agreement', 'risk_post', 'claims_register')
    group by area_code, evaluation_year
),

a6_13 as (
    select
        'A6.13' as indicator_code,
        'counties_with_system' as variant,
        county_frame.county_code as area_code,
        county_frame.evaluation_year,
        case
            when county_frame.has_policy_document
                then case when risk_document.document_count = 3 then 1 else 0 end
        end as numerator,
        case when county_frame.has_policy_document then 1 end as denominator,
        coalesce(risk_document.load_ids, {{ empty_list() }}) as numerator_load_ids,
        case when county_frame.has_policy_document then looked_at.load_ids else {{ empty_list() }} end
            as denominator_load_ids
    from county_frame
    cross join looked_at
    left join risk_document
        on county_frame.county_code = risk_document.area_code
        and county_frame.evaluation_year = risk_document.evaluation_year
),

-- A7.4: yuan paid for a pupil, in special schools and to the schools that teach disabled pupils among the others
grant_kind as (
    select 'special_school' as variant
    union all
    select 'inclusive' as variant
),

grant_line as (
    select
        county_code,
        fiscal_year,
        grant_kind,
        paid_yuan,
        pupil_count,
        cast(null as bigint) as fund_load_id,
        cast(null as bigint) as roll_load_id
    from operating_grant
    union all
    select
        operating_grant.county_code,
        operating_grant.fiscal_year,
        operating_grant.grant_kind,
        0 as paid_yuan,
        0 as pupil_count,
        item.load_id as fund_load_id,
        null as roll_load_id
    from operating_grant
    {{ each_of('operating_grant.fund_load_ids', 'item') }}
    union all
    select
        operating_grant.county_code,
        operating_grant.fiscal_year,
        operating_grant.grant_kind,
        0 as paid_yuan,
        0 as pupil_count,
        null as fund_load_id,
        item.load_id as roll_load_id
    from operating_grant
    {{ each_of('operating_grant.roll_load_ids', 'item') }}
),

grant_total as (
    select
        grant_line.county_code,
        evaluation_year.evaluation_year,
        grant_line.grant_kind,
        round(sum(grant_line.paid_yuan), 0) as paid_yuan,
        sum(grant_line.pupil_count) as pupil_count,
        {{ sorted_list('grant_line.fund_load_id') }} as fund_load_ids,
        {{ sorted_list('grant_line.roll_load_id') }} as roll_load_ids
    from grant_line
    inner join evaluation_year on grant_line.fiscal_year = evaluation_year.fiscal_year
    group by grant_line.county_code, evaluation_year.evaluation_year, grant_line.grant_kind
),

a7_4 as (
    select
        'A7.4' as indicator_code,
        grant_kind.variant,
        county_frame.county_code as area_code,
        county_frame.evaluation_year,
        case when county_frame.has_fund_ledger then coalesce(grant_total.paid_yuan, 0) end as numerator,
        case when county_frame.has_pupil then coalesce(grant_total.pupil_count, 0) end as denominator,
        coalesce(grant_total.fund_load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(grant_total.roll_load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_frame
    cross join grant_kind
    left join grant_total
        on county_frame.county_code = grant_total.county_code
        and county_frame.evaluation_year = grant_total.evaluation_year
        and grant_kind.variant = grant_total.grant_kind
),

-- A7.11: townships with a care network that holds at year end
township as (
    select
        area_code,
        county_code,
        load_id
    from area
    where area_level = 'township' and is_current
),

network as (
    select
        township.county_code,
        evaluation_year.evaluation_year,
        count(in_force.load_id) as network_count,
        count(*) as township_count,
        {{ sorted_list('in_force.load_id') }} as network_load_ids,
        {{ sorted_list('township.load_id') }} as township_load_ids
    from township
    cross join evaluation_year
    left join in_force
        on township.area_code = in_force.area_code
        and evaluation_year.evaluation_year = in_force.evaluation_year
        and in_force.document_type = 'care_network'
    group by township.county_code, evaluation_year.evaluation_year
),

a7_11 as (
    select
        'A7.11' as indicator_code,
        'townships_with_network' as variant,
        county_frame.county_code as area_code,
        county_frame.evaluation_year,
        case when county_frame.has_policy_document then coalesce(network.network_count, 0) end as numerator,
        coalesce(network.township_count, 0) as denominator,
        coalesce(network.network_load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(network.township_load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_frame
    left join network
        on county_frame.county_code = network.county_code
        and county_frame.evaluation_year = network.evaluation_year
),

together as (
    select * from a6_12
    union all
    select * from a6_13
    union all
    select * from a7_4
    union all
    select * from a7_11
),

final as (
    select
        indicator_code,
        variant,
        area_code,
        evaluation_year,
        'all' as subgroup,
        'none' as basis,
        cast(numerator as numeric(38, 0)) as numerator,
        cast(denominator as numeric(38, 0)) as denominator,
        numerator_load_ids,
        denominator_load_ids
    from together
)

select * from final
