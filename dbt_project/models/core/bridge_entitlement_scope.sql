-- grain: one row per entitlement paid to persons × semester × county × grade for which it is in force
with

entitlement as (select * from {{ ref('dim_entitlement') }}),
semester as (select * from {{ ref('dim_semester') }}),
area as (select * from {{ ref('dim_area') }}),
grade as (select * from {{ ref('dim_grade') }}),
document as (select * from {{ ref('fct_org_document') }}),

county as (
    select
        area_code as county_code,
        city_code,
        region_code,
        is_plan_county
    from area
    where area_level = 'county' and is_current
),

-- the words of the column scope, and the counties that each of them means
named_scope as (
    select
        'region' as scope,
        county_code
    from county
    union all
    select
        'plan_counties' as scope,
        county_code
    from county
    where is_plan_county
    union all
    select
        'city:' || city_code as scope,
        county_code
    from county
    union all
    select
        'county:' || county_code as scope,
        county_code
    from county
),

rule as (
    select
        entitlement.entitlement_key,
        entitlement.entitlement_code,
        entitlement.rule_version,
        entitlement.plan_entitlement,
        entitlement.tier,
        entitlement.stage_code,
        entitlement.grade_codes,
        entitlement.beneficiary,
        entitlement.scope,
        entitlement.scope_except,
        entitlement.standard_yuan,
        semester.semester_key,
        semester.semester_code,
        semester.evaluation_year,
        semester.term,
        semester.school_start_year,
        semester.poverty_year,
        semester.cut_off_date
    from entitlement
    inner join semester
        on semester.semester_order >= coalesce(entitlement.from_semester_order, semester.semester_order)
        and semester.semester_order <= coalesce(entitlement.to_semester_order, semester.semester_order)
    where entitlement.payment_unit = 'person' and semester.is_in_scope
),

-- a document of the county, its city or the region that holds on the cut-off date
county_policy as (
    select
        rule.entitlement_key,
        rule.semester_key,
        county.county_code,
        min(document.load_id) as document_load_id
    from rule
    inner join document
        on rule.plan_entitlement = document.entitlement_code
        and rule.cut_off_date >= document.effective_from_date
        and rule.cut_off_date <= coalesce(document.effective_to_date, cast('9999-12-31' as date))
    inner join county
        on document.area_code in (county.county_code, county.city_code, county.region_code)
    where rule.scope = 'county_policy' and document.document_type = 'aid_policy'
    group by rule.entitlement_key, rule.semester_key, county.county_code
),

placed as (
    select
        rule.*,
        named_scope.county_code,
        cast(null as bigint) as document_load_id
    from rule
    inner join named_scope on rule.scope = named_scope.scope
    union all
    select
        rule.*,
        county_policy.county_code,
        county_policy.document_load_id
    from rule
    inner join county_policy
        on rule.entitlement_key = county_policy.entitlement_key and rule.semester_key = county_policy.semester_key
),

kept as (
    select placed.*
    from placed
    left join named_scope as excepted
        on placed.scope_except = excepted.scope and placed.county_code = excepted.county_code
    where excepted.county_code is null
),

-- the unknown grade belongs to rules that name none: pupils of colleges and poor pupils on no roll have no grade
graded as (
    select
        kept.*,
        coalesce(grade.grade_code, '-1') as grade_code
    from kept
    left join grade on kept.stage_code = grade.stage_code
    where
        kept.grade_codes is null
        or ';' || kept.grade_codes || ';' like '%;' || grade.grade_code || ';%'
    union
    select
        kept.*,
        '-1' as grade_code
    from kept
    where kept.grade_codes is null
),

final as (
    select
        {{ surrogate_key(['entitlement_key', 'semester_key', 'county_code', 'grade_code']) }}
            as entitlement_scope_key,
        entitlement_key,
        semester_key,
        entitlement_code,
        rule_version,
        plan_entitlement,
        tier,
        semester_code,
        evaluation_year,
        term,
        school_start_year,
        poverty_year,
        county_code,
        stage_code,
        grade_code,
        beneficiary,
        standard_yuan,
        document_load_id
    from graded
)

select * from final
