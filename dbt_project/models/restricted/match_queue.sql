-- grain: one row per county that may see it × registered-poor person × case: a candidate to look at, or nobody found
with

match as (select * from {{ ref('bridge_person_match') }}),
pair as (select * from {{ ref('stg_person_pair') }}),
poverty as (select * from {{ ref('fct_poverty_person') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
recognition as (select * from {{ ref('stg_aid_recognition') }}),
school as (select * from {{ ref('dim_school') }}),

last_list as (select max(poverty_year) as poverty_year from match),

-- one row per person, year and county of the household: who is twice on a list of a county is there once here
listed as (
    select
        poverty.*,
        row_number() over (
            partition by poverty.poverty_year, poverty.person_token, poverty.county_code
            order by poverty.person_number asc
        ) as preference
    from poverty
    where poverty.person_token is not null and poverty.county_code is not null
),

resident as (select * from listed where preference = 1),

-- a case may wait for years: the latest of them is shown, and since when
waiting as (
    select
        pair.*,
        min(pair.poverty_year) over (partition by pair.case_number) as since_year,
        row_number() over (partition by pair.case_number order by pair.poverty_year desc) as recency
    from match
    inner join pair
        on match.poverty_year = pair.poverty_year
        and match.poor_person_token = pair.poor_person_token
    where match.match_status = 'review' and pair.match_status = 'review'
),

held as (
    select
        poverty_year,
        since_year,
        poor_person_token,
        case_number,
        cast('candidate' as {{ dbt.type_string() }}) as case_kind,
        pupil_person_token,
        preference,
        match_score,
        explanation_zh,
        explanation_en
    from waiting
    where recency = 1
),

nobody as (
    select
        match.poverty_year,
        match.poverty_year as since_year,
        match.poor_person_token,
        upper(substr({{ surrogate_key(["'nobody found'", 'match.poor_person_token']) }}, 1, 16)) as case_number,
        cast('nobody_found' as {{ dbt.type_string() }}) as case_kind,
        cast(null as {{ dbt.type_string() }}) as pupil_person_token,
        cast(null as integer) as preference,
        cast(null as numeric(5, 4)) as match_score,
        cast(null as {{ dbt.type_string() }}) as explanation_zh,
        cast(null as {{ dbt.type_string() }}) as explanation_en
    from match
    inner join last_list on match.poverty_year = last_list.poverty_year
    where match.match_status = 'unmatched'
),

-- colleges have no register here: a student is where aid was recognized
college_student as (
    select
        case when term = 'spring' then aid_year - 1 else aid_year end as school_start_year,
        person_token,
        max(school_code) as school_code
    from recognition
    where stage = 'higher'
    group by case when term = 'spring' then aid_year - 1 else aid_year end, person_token
),

college as (select * from school where valid_to_date is null),

cases as (
    select * from held
    union all
    select * from nobody
),

final as (
    select
        resident.county_code,
        cases.case_number,
        cases.poor_person_token,
        cases.case_kind,
        cases.poverty_year,
        cases.since_year,
        resident.village_code,
        resident.household_number,
        resident.sex_code,
        resident.age_years,
        resident.school_status,
        resident.poverty_status,
        cases.pupil_person_token as candidate_person_token,
        cases.preference as candidate_number,
        coalesce(pupil.county_code, college.county_code) as candidate_county_code,
        coalesce(pupil.school_code, college_student.school_code) as candidate_school_code,
        coalesce(school.school_name, college.school_name) as candidate_school_name,
        coalesce(pupil.stage_code, case when college_student.school_code is not null then 'higher' end)
            as candidate_stage_code,
        pupil.grade_code as candidate_grade_code,
        cases.match_score,
        cast(case
            when cases.match_score >= 0.95 then '很可能是同一人'
            when cases.match_score >= 0.8 then '较可能是同一人'
            when cases.match_score is not null then '可能是同一人'
            else '学籍库中未找到'
        end as {{ dbt.type_string() }}) as likelihood_zh,
        cast(case
            when cases.match_score >= 0.95 then 'very likely the same person'
            when cases.match_score >= 0.8 then 'likely the same person'
            when cases.match_score is not null then 'possibly the same person'
            else 'found on no roll'
        end as {{ dbt.type_string() }}) as likelihood_en,
        cases.explanation_zh as found_zh,
        cases.explanation_en as found_en,
        cast(case
            when cases.case_kind = 'candidate'
                then '核对户口簿与学籍档案是否同一人，在比对核查表中按比对编号填写结论和核查日期后报送'
            else '入户核实：在校的由学校补正学籍中的证件号码；不在校的登入控辍保学台账'
        end as {{ dbt.type_string() }}) as what_to_do_zh,
        cast(case
            when cases.case_kind = 'candidate'
                then 'compare household register and school file; send outcome and day in the match review'
            else 'visit: at school, the school corrects the ID number; if not, enter the child in the dropout ledger'
        end as {{ dbt.type_string() }}) as what_to_do_en
    from cases
    inner join resident
        on cases.poverty_year = resident.poverty_year
        and cases.poor_person_token = resident.person_token
    left join pupil
        on cases.poverty_year = pupil.school_start_year
        and cases.pupil_person_token = pupil.person_token
        and pupil.is_primary_roll
    left join school on pupil.school_key = school.school_key
    left join college_student
        on cases.poverty_year = college_student.school_start_year
        and cases.pupil_person_token = college_student.person_token
    left join college on college_student.school_code = college.school_code
    where
        cases.case_kind = 'candidate'
        or resident.age_years between {{ var('out_of_school_age_from') }} and {{ var('out_of_school_age_to') }}
)

select * from final
