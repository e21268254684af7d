-- grain: one row per poverty year × county × person number × kind of contradiction on one row of the poverty list (I22)
with

listed as (select * from {{ ref('stg_poor_person') }}),
person as (select * from {{ ref('fct_poverty_person') }}),
word as (select * from {{ ref('poverty_file_words') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),

-- what the words of a row mean; a school status that says neither absent nor too young is a school
understood as (
    select
        listed.poverty_year,
        listed.person_number,
        listed.school_status,
        listed.labor_ability,
        listed.health_status,
        listed.out_of_school_reason,
        person.county_code,
        person.person_token,
        person.age_years,
        person.load_id,
        listed.school_status is not null and coalesce(school_word.meaning, 'at_school') <> 'not_at_school'
            as is_at_school,
        coalesce(school_word.meaning = 'postgraduate', false) as is_postgraduate,
        coalesce(labor_word.meaning = 'skilled', false) as is_skilled,
        coalesce(health_word.meaning = 'healthy', false) as is_healthy,
        coalesce(reason_word.meaning = 'ill', false) as is_away_ill,
        coalesce(reason_word.meaning = 'working', false) as is_away_working
    from listed
    inner join person
        on listed.poverty_year = person.poverty_year
        and listed.county_code = person.reported_county_code
        and listed.person_number = person.person_number
    left join word as school_word
        on listed.school_status = school_word.word and school_word.field = 'school_status'
    left join word as labor_word
        on listed.labor_ability = labor_word.word and labor_word.field = 'labor_ability'
    left join word as health_word
        on listed.health_status = health_word.word and health_word.field = 'health_status'
    left join word as reason_word
        on listed.out_of_school_reason = reason_word.word and reason_word.field = 'out_of_school_reason'
),

contradiction as (
    select
        'skilled_pupil' as case_kind,
        '在校生登记为技能劳动力' as description_zh,
        'at school, and put down as skilled labor' as description_en,
        labor_ability as said,
        understood.*
    from understood
    where is_at_school and is_skilled
    union all
    select
        'not_ill' as case_kind,
        '因病因残未上学，健康状况却登记为健康' as description_zh,
        'out of school through illness or disability, and put down as healthy' as description_en,
        health_status as said,
        understood.*
    from understood
    where is_away_ill and is_healthy
    union all
    select
        'young_master' as case_kind,
        '硕士在读，年龄却不到 ' || {{ as_text('cast(bound.age as integer)') }} || ' 岁' as description_zh,
        'postgraduate below the age of ' || {{ as_text('cast(bound.age as integer)') }} as description_en,
        understood.school_status as said,
        understood.*
    from understood
    cross join (select {{ threshold('I22', 'postgraduate_min_age') }} as age) as bound
    where understood.is_postgraduate and understood.age_years < bound.age
    union all
    select
        'working_pupil' as case_kind,
        '在校生登记的未上学原因是务工' as description_zh,
        'at school, and put down as away at work' as description_en,
        out_of_school_reason as said,
        understood.*
    from understood
    where is_at_school and is_away_working
),

final as (
    select
        'I22' as rule_code,
        contradiction.case_kind,
        {{ evidence(['contradiction.county_code', 'contradiction.person_number', 'contradiction.poverty_year',
            'contradiction.case_kind']) }} as case_key,
        {{ evidence(['contradiction.school_status', 'contradiction.said', 'contradiction.age_years']) }}
            as evidence_text,
        evaluation_year.evaluation_year,
        contradiction.county_code,
        contradiction.county_code as home_county_code,
        contradiction.person_token,
        cast(null as {{ dbt.type_string() }}) as school_code,
        cast(null as {{ dbt.type_string() }}) as entitlement_code,
        cast(null as {{ dbt.type_string() }}) as semester_code,
        cast(null as {{ dbt.type_string() }}) as document_number,
        evaluation_year.poverty_snapshot_date as since_date,
        cast(0 as numeric(14, 2)) as amount_at_risk_yuan,
        contradiction.description_zh,
        contradiction.description_en,
        {{ one_load('contradiction.load_id') }} as load_ids
    from contradiction
    inner join evaluation_year on contradiction.poverty_year = evaluation_year.evaluation_year
)

select * from final
