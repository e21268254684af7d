-- grain: one row per indicator × variant × county × evaluation year × subgroup × basis (action 6, policies and loans)
with

county_year as (select * from {{ ref('int_county_year') }}),
feed_coverage as (select * from {{ ref('int_feed_coverage') }}),
served_by as (select * from {{ ref('entitlement_indicators') }}),
scope as (select * from {{ ref('bridge_entitlement_scope') }}),
area as (select * from {{ ref('dim_area') }}),
document as (select * from {{ ref('fct_org_document') }}),
poor_person as (select * from {{ ref('int_poor_person_roll') }}),
loan as (select * from {{ ref('fct_student_loan') }}),

-- A6.2: one of the entitlements of the indicator is in force in the county in autumn, by a document or because the
-- area feed says that the plan is for the county
county_in_force as (
    select
        scope.county_code,
        scope.evaluation_year,
        {{ sorted_list('coalesce(scope.document_load_id, area.load_id)') }} as load_ids
    from scope
    inner join served_by on scope.entitlement_code = served_by.entitlement_code
    inner join area on scope.county_code = area.area_code and area.area_level = 'county' and area.is_current
    where served_by.indicator_code = 'A6.2' and scope.term = 'autumn'
    group by scope.county_code, scope.evaluation_year
),

-- that there is no document is known from all files of the feed: a later one may tell of an earlier start
looked_at as (select {{ sorted_list('load_id') }} as load_ids from document),

a6_2 as (
    select
        'A6.2' as indicator_code,
        'counties_in_force' as variant,
        county_year.county_code,
        county_year.evaluation_year,
        'all' as subgroup,
        'none' as basis,
        case
            when feed_coverage.row_count is not null
                then case when county_in_force.county_code is null then 0 else 1 end
        end as numerator,
        case when feed_coverage.row_count is not null then 1 end as denominator,
        coalesce(county_in_force.load_ids, {{ empty_list() }}) as numerator_load_ids,
        case when feed_coverage.row_count is not null then looked_at.load_ids else {{ empty_list() }} end
            as denominator_load_ids
    from county_year
    cross join looked_at
    left join feed_coverage
        on feed_coverage.feed = 'policy_document'
        and county_year.county_code = feed_coverage.county_code
        and county_year.evaluation_year = feed_coverage.coverage_year
    left join county_in_force
        on county_year.county_code = county_in_force.county_code
        and county_year.evaluation_year = county_in_force.evaluation_year
),

-- A6.10: loans of persons who stand on the poverty list of the year
poor_pupil as (
    select
        poverty_year,
        known_person_token
    from poor_person
    group by poverty_year, known_person_token
),

poor_loan as (
    select
        loan.county_code,
        loan.aid_year,
        count(*) as applied_count,
        sum(case when loan.is_granted then 1 else 0 end) as granted_count,
        sum(case when loan.is_granted then coalesce(loan.amount_yuan, 0) else 0 end) as granted_yuan,
        {{ sorted_list('case when loan.is_granted then loan.load_id end') }} as granted_load_ids,
        {{ sorted_list('loan.load_id') }} as applied_load_ids
    from loan
    inner join poor_pupil
        on loan.aid_year = poor_pupil.poverty_year
        and loan.person_token = poor_pupil.known_person_token
        and loan.token_basis = 'id_number'
    group by loan.county_code, loan.aid_year
),

loan_year as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        county_year.has_poor_person and feed_coverage.row_count is not null as is_measurable,
        coalesce(poor_loan.applied_count, 0) as applied_count,
        coalesce(poor_loan.granted_count, 0) as granted_count,
        round(coalesce(poor_loan.granted_yuan, 0), 0) as granted_yuan,
        coalesce(poor_loan.granted_load_ids, {{ empty_list() }}) as granted_load_ids,
        coalesce(poor_loan.applied_load_ids, {{ empty_list() }}) as applied_load_ids
    from county_year
    left join feed_coverage
        on feed_coverage.feed = 'student_loan'
        and county_year.county_code = feed_coverage.county_code
        and county_year.evaluation_year = feed_coverage.coverage_year
    left join poor_loan
        on county_year.county_code = poor_loan.county_code and county_year.evaluation_year = poor_loan.aid_year
),

a6_10 as (
    select
        'A6.10' as indicator_code,
        'granted' as variant,
        county_code,
        evaluation_year,
        'all' as subgroup,
        'none' as basis,
        case when is_measurable then granted_count end as numerator,
        case when is_measurable then applied_count end as denominator,
        granted_load_ids as numerator_load_ids,
        applied_load_ids as denominator_load_ids
    from loan_year
    union all
    select
        'A6.10' as indicator_code,
        'amount' as variant,
        county_code,
        evaluation_year,
        'all' as subgroup,
        'none' as basis,
        case when is_measurable then granted_yuan end as numerator,
        null as denominator,
        granted_load_ids as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from loan_year
),

together as (
    select * from a6_2
    union all
    select * from a6_10
),

final as (
    select
        indicator_code,
        variant,
        county_code as area_code,
        evaluation_year,
        subgroup,
        basis,
        cast(numerator as numeric(38, 0)) as numerator,
        cast(denominator as numeric(38, 0)) as denominator,
        numerator_load_ids,
        denominator_load_ids
    from together
)

select * from final
