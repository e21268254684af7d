-- grain: one row per person × entitlement (rule version) × semester that the person is entitled to it on some basis
with

scope as (select * from {{ ref('bridge_entitlement_scope') }}),
semester as (select * from {{ ref('dim_semester') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
poor_person as (select * from {{ ref('int_poor_person_roll') }}),
recognition as (select * from {{ ref('fct_aid_recognition') }}),
school as (select * from {{ ref('dim_school') }}),
school_status as (select * from {{ ref('poverty_school_statuses') }}),

-- leaving poverty does not end the policies (unless the variable says that it does)
entitled_poor as (
    select *
    from poor_person
    {%- if not var('exited_stay_entitled') %}
        where keeps_policies
    {%- endif %}
),

poor_pupil as (
    select
        poverty_year,
        known_person_token as person_token,
        min(county_code) as county_code,
        min(match_method) as match_method,
        min(load_id) as load_id
    from entitled_poor
    group by poverty_year, known_person_token
),

recognized as (
    select
        semester_code,
        person_token,
        max(case when is_national_broad then 1 else 0 end) as broad_count,
        min(case when is_national_broad then load_id end) as load_id
    from recognition
    group by semester_code, person_token
),

-- what a grade can be due at all: most rolls are dropped here, before anything is joined to them
grade_rule as (
    select
        stage_code,
        grade_code,
        max(case when beneficiary in ('every_pupil', 'disabled_pupil') then 1 else 0 end) as has_universal,
        max(case when beneficiary <> 'registered_poor_boarder' then 1 else 0 end) as has_day_pupil
    from scope
    group by stage_code, grade_code
),

entitled_roll as (
    select
        pupil.person_key,
        pupil.school_key,
        pupil.school_start_year,
        pupil.person_token,
        pupil.stage_code,
        pupil.grade_code,
        pupil.home_county_code,
        pupil.county_code as school_county_code,
        pupil.school_code,
        pupil.boarding_code = '2' as is_boarder,
        coalesce(pupil.disability_code, '0') <> '0' as is_disabled,
        grade_rule.has_universal = 1 as has_universal,
        pupil.load_id
    from pupil
    inner join grade_rule on pupil.stage_code = grade_rule.stage_code and pupil.grade_code = grade_rule.grade_code
    where pupil.is_primary_roll and (grade_rule.has_day_pupil = 1 or pupil.boarding_code = '2')
),

on_roll as (
    select
        entitled_roll.person_key,
        entitled_roll.school_key,
        semester.semester_key,
        entitled_roll.person_token,
        entitled_roll.stage_code,
        entitled_roll.grade_code,
        coalesce(entitled_roll.home_county_code, poor_pupil.county_code, entitled_roll.school_county_code)
            as home_county_code,
        entitled_roll.school_county_code,
        entitled_roll.school_code,
        entitled_roll.is_boarder,
        entitled_roll.is_disabled,
        false as has_asked_work_study,
        poor_pupil.person_token is not null as is_registered_poor,
        coalesce(recognized.broad_count, 0) = 1 as is_recognized,
        true as is_matched,
        coalesce(poor_pupil.match_method, 'roll') as match_method,
        poor_pupil.load_id as poverty_load_id,
        entitled_roll.load_id as roll_load_id,
        recognized.load_id as recognition_load_id
    from entitled_roll
    inner join semester on entitled_roll.school_start_year = semester.school_start_year and semester.is_in_scope
    left join poor_pupil
        on semester.poverty_year = poor_pupil.poverty_year and entitled_roll.person_token = poor_pupil.person_token
    left join recognized
        on semester.semester_code = recognized.semester_code
        and entitled_roll.person_token = recognized.person_token
    where entitled_roll.has_universal or poor_pupil.person_token is not null or recognized.broad_count = 1
),

-- there is no register of colleges: their roll is who was recognized there, in colleges of the region's school register
regional_school as (
    select school_code
    from school
    group by school_code
),

college_row as (
    select
        recognition.*,
        row_number() over (
            partition by recognition.semester_code, recognition.person_token
            order by recognition.county_code asc, recognition.student_number_token asc
        ) as preference
    from recognition
    inner join regional_school on recognition.school_code = regional_school.school_code
    where recognition.stage_code = 'higher'
),

on_college_roll as (
    select
        college_row.person_key,
        college_row.school_key,
        semester.semester_key,
        college_row.person_token,
        college_row.stage_code,
        '-1' as grade_code,
        coalesce(poor_pupil.county_code, college_row.county_code) as home_county_code,
        college_row.county_code as school_county_code,
        college_row.school_code,
        false as is_boarder,
        false as is_disabled,
        college_row.has_asked_work_study,
        poor_pupil.person_token is not null as is_registered_poor,
        recognized.broad_count = 1 as is_recognized,
        true as is_matched,
        coalesce(poor_pupil.match_method, 'roll') as match_method,
        poor_pupil.load_id as poverty_load_id,
        college_row.load_id as roll_load_id,
        college_row.load_id as recognition_load_id
    from college_row
    inner join semester on college_row.semester_code = semester.semester_code and semester.is_in_scope
    inner join recognized
        on college_row.semester_code = recognized.semester_code
        and college_row.person_token = recognized.person_token
    left join poor_pupil
        on semester.poverty_year = poor_pupil.poverty_year and college_row.person_token = poor_pupil.person_token
    where college_row.preference = 1
),

-- poor persons on no roll stay in the denominator where their own register says which stage they are in
on_no_roll as (
    select
        entitled_poor.person_key,
        {{ unknown_key() }} as school_key,
        semester.semester_key,
        entitled_poor.poor_person_token as person_token,
        school_status.stage_code,
        school_status.grade_code,
        entitled_poor.county_code as home_county_code,
        entitled_poor.county_code as school_county_code,
        cast(null as {{ dbt.type_string() }}) as school_code,
        false as is_boarder,
        false as is_disabled,
        false as has_asked_work_study,
        true as is_registered_poor,
        false as is_recognized,
        false as is_matched,
        'unmatched' as match_method,
        entitled_poor.load_id as poverty_load_id,
        cast(null as bigint) as roll_load_id,
        cast(null as bigint) as recognition_load_id
    from entitled_poor
    inner join school_status
        on entitled_poor.school_status = school_status.school_status
        and entitled_poor.age_years between school_status.age_from and school_status.age_to
    inner join semester on entitled_poor.poverty_year = semester.poverty_year and semester.is_in_scope
    left join college_row
        on semester.semester_code = college_row.semester_code
        and entitled_poor.known_person_token = college_row.person_token
        and college_row.preference = 1
    where
        not entitled_poor.is_on_roll
        and school_status.stage_code is not null
        and college_row.person_token is null
),

candidate as (
    select * from on_roll
    union all
    select * from on_college_roll
    union all
    select * from on_no_roll
),

final as (
    select
        {{ surrogate_key(['candidate.person_token', 'scope.entitlement_key', 'scope.semester_key']) }}
            as entitlement_due_key,
        candidate.person_key,
        scope.entitlement_key,
        scope.semester_key,
        candidate.school_key,
        candidate.person_token,
        scope.semester_code,
        scope.evaluation_year,
        scope.term,
        scope.entitlement_code,
        scope.rule_version,
        candidate.stage_code,
        candidate.grade_code,
        candidate.home_county_code,
        candidate.school_county_code,
        candidate.school_code,
        candidate.is_registered_poor,
        candidate.is_registered_poor or scope.beneficiary in ('every_pupil', 'disabled_pupil') as is_due_plan_strict,
        true as is_due_national_broad,
        candidate.is_matched,
        candidate.match_method,
        scope.standard_yuan,
        candidate.poverty_load_id,
        candidate.roll_load_id,
        candidate.recognition_load_id,
        coalesce(candidate.roll_load_id, candidate.poverty_load_id) as load_id
    from candidate
    inner join scope
        on candidate.semester_key = scope.semester_key
        and candidate.school_county_code = scope.county_code
        and candidate.stage_code = scope.stage_code
        and candidate.grade_code = scope.grade_code
    where
        scope.beneficiary = 'every_pupil'
        or (scope.beneficiary = 'disabled_pupil' and candidate.is_disabled)
        or (
            (candidate.is_registered_poor or candidate.is_recognized)
            and (
                scope.beneficiary = 'registered_poor'
                or (scope.beneficiary = 'registered_poor_boarder' and candidate.is_boarder)
                or (scope.beneficiary = 'registered_poor_applicant' and candidate.has_asked_work_study)
            )
        )
)

select * from final
