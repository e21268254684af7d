-- grain: one row per integrity case × county that may see it: the one that has to act and the home county of the person
with

flag as (select * from {{ ref('fct_integrity_flag') }}),
rule as (select * from {{ ref('integrity_rules') }}),
school as (select * from {{ ref('dim_school') }}),

-- a school that is gone keeps its last name
ranked_school as (
    select
        school_code,
        school_name,
        row_number() over (partition by school_code order by valid_from_date desc) as recency
    from school
),

latest_school as (select * from ranked_school where recency = 1),

entitled as (
    select
        integrity_flag_key,
        county_code,
        case when county_code = home_county_code then 'acts_and_home' else 'acts' end as county_relation
    from flag
    union all
    select
        integrity_flag_key,
        home_county_code as county_code,
        'home' as county_relation
    from flag
    where home_county_code is not null and home_county_code <> county_code
),

final as (
    select
        flag.case_number,
        entitled.county_code,
        cast(entitled.county_relation as {{ dbt.type_string() }}) as county_relation,
        flag.county_code as responsible_county_code,
        flag.home_county_code,
        flag.rule_code,
        cast(rule.name_zh as {{ dbt.type_string() }}) as rule_name_zh,
        cast(rule.name_en as {{ dbt.type_string() }}) as rule_name_en,
        flag.case_kind,
        flag.evidence_code,
        flag.evaluation_year,
        flag.person_token,
        flag.school_code,
        latest_school.school_name,
        flag.entitlement_code,
        flag.semester_code,
        flag.document_number,
        flag.since_date,
        flag.amount_at_risk_yuan,
        flag.description_zh,
        flag.description_en,
        cast(rule.does_not_prove_zh as {{ dbt.type_string() }}) as does_not_prove_zh,
        cast(rule.what_to_do_zh as {{ dbt.type_string() }}) as what_to_do_zh,
        cast(rule.what_to_do_en as {{ dbt.type_string() }}) as what_to_do_en,
        flag.review_status,
        flag.review_outcome,
        flag.review_reason,
        flag.reviewed_date,
        flag.handled_date,
        flag.recovered_yuan
    from entitled
    inner join flag on entitled.integrity_flag_key = flag.integrity_flag_key
    inner join rule on flag.rule_code = rule.rule_code
    left join latest_school on flag.school_code = latest_school.school_code
)

select * from final
