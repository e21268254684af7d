-- grain: one row per case of the rules that compare registers, statistics and grants (I08, I11, I12, I17, I19)
with

enrollment as (select * from {{ ref('fct_school_enrollment') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
grade as (select * from {{ ref('dim_grade') }}),
stage as (select * from {{ ref('dim_stage') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),
goal as (select * from {{ ref('ind_g_goals') }}),
population_used as (select * from {{ ref('bridge_evaluation_year_population') }}),
operating_grant as (select * from {{ ref('fct_operating_grant') }}),
county_semester as (select * from {{ ref('int_county_semester') }}),

reported as (
    select
        school_code,
        school_start_year,
        min(county_code) as county_code,
        sum(enrollment_count) as reported_count,
        {{ sorted_list('load_id') }} as load_ids
    from enrollment
    group by school_code, school_start_year
),

registered as (
    select
        school_code,
        school_start_year,
        count(*) as roll_count,
        {{ sorted_list('load_id') }} as load_ids
    from pupil
    group by school_code, school_start_year
),

-- I08: a school reports more pupils than the register knows
inflated as (
    select
        'I08' as rule_code,
        'inflated_roll' as case_kind,
        {{ evidence(['reported.school_code', 'reported.school_start_year']) }} as case_key,
        {{ evidence(['reported.reported_count', 'registered.roll_count']) }} as evidence_text,
        evaluation_year.evaluation_year,
        reported.county_code,
        cast(null as {{ dbt.type_string() }}) as home_county_code,
        cast(null as {{ dbt.type_string() }}) as person_token,
        reported.school_code,
        evaluation_year.stock_snapshot_date as since_date,
        0 as amount_at_risk_yuan,
        '报表在校生 ' || {{ as_text('reported.reported_count') }} || ' 人，学籍 '
        || {{ as_text('registered.roll_count') }} || ' 人' as description_zh,
        'statistics report ' || {{ as_text('reported.reported_count') }} || ' pupils, the register holds '
        || {{ as_text('registered.roll_count') }} as description_en,
        {{ merged_list('reported.load_ids', 'registered.load_ids') }} as load_ids
    from reported
    inner join registered
        on reported.school_code = registered.school_code
        and reported.school_start_year = registered.school_start_year
    inner join evaluation_year on reported.school_start_year = evaluation_year.school_start_year
    where
        reported.reported_count * 100
        > registered.roll_count * (100 + {{ threshold('I08', 'max_excess_percent') }})
),

-- a pupil of a special school may be of any age from grade one to the end of upper secondary school
stage_age as (
    select
        stage_code,
        min(typical_age) as age_from,
        max(typical_age) as age_to
    from grade
    where typical_age is not null
    group by stage_code
    union all
    select
        'special' as stage_code,
        min(typical_age) as age_from,
        max(typical_age) as age_to
    from grade
    where typical_age is not null and stage_code <> 'preschool'
),

-- I11: an age that no pupil of the stage has; wrong check digits never get as far as this
impossible_age as (
    select
        'I11' as rule_code,
        'age_outside_stage' as case_kind,
        {{ evidence(['pupil.person_token', 'pupil.school_start_year']) }} as case_key,
        {{ evidence(['pupil.age_years', 'pupil.stage_code']) }} as evidence_text,
        evaluation_year.evaluation_year,
        pupil.county_code,
        pupil.home_county_code,
        pupil.person_token,
        pupil.school_code,
        evaluation_year.stock_snapshot_date as since_date,
        0 as amount_at_risk_yuan,
        '年龄超出学段 ' || {{ as_text('stage_age.age_from') }} || '–' || {{ as_text('stage_age.age_to') }}
        || ' 岁上下 ' || {{ as_text('cast(tolerance.years as integer)') }} || ' 岁' as description_zh,
        'age is more than ' || {{ as_text('cast(tolerance.years as integer)') }} || ' years outside '
        || {{ as_text('stage_age.age_from') }} || '–' || {{ as_text('stage_age.age_to') }} || ', the ages of the stage'
            as description_en,
        {{ one_load('pupil.load_id') }} as load_ids
    from pupil
    inner join stage_age on pupil.stage_code = stage_age.stage_code
    inner join evaluation_year on pupil.school_start_year = evaluation_year.school_start_year
    cross join (select {{ threshold('I11', 'age_tolerance_years') }} as years) as tolerance
    where
        pupil.is_primary_roll
        and (
            pupil.age_years < stage_age.age_from - tolerance.years
            or pupil.age_years > stage_age.age_to + tolerance.years
        )
),

-- I12: the same ID number on the rolls of several schools on one day
rolls as (
    select
        person_token,
        school_start_year,
        max(case when is_primary_roll then county_code end) as county_code,
        max(case when is_primary_roll then home_county_code end) as home_county_code,
        max(case when is_primary_roll then school_code end) as school_code,
        max(case when primary_roll_rule = 'latest_transfer' then 1 else 0 end) as has_transfer,
        count(*) as roll_count,
        {{ sorted_text('school_code') }} as school_codes,
        {{ sorted_list('load_id') }} as load_ids
    from pupil
    where token_basis = 'id_number'
    group by person_token, school_start_year
    having count(*) > {{ threshold('I12', 'max_rolls') }}
),

on_two_rolls as (
    select
        'I12' as rule_code,
        'two_rolls' as case_kind,
        {{ evidence(['rolls.person_token', 'rolls.school_start_year']) }} as case_key,
        {{ evidence(['rolls.school_codes', 'rolls.roll_count', 'rolls.has_transfer']) }} as evidence_text,
        evaluation_year.evaluation_year,
        rolls.county_code,
        rolls.home_county_code,
        rolls.person_token,
        rolls.school_code,
        evaluation_year.stock_snapshot_date as since_date,
        0 as amount_at_risk_yuan,
        '同时在籍：' || rolls.school_codes
        || case when rolls.has_transfer = 1 then '；转学已审核，原校未办结' else '；没有已审核的转学' end
            as description_zh,
        'on the rolls of ' || rolls.school_codes || case
            when rolls.has_transfer = 1 then '; a transfer is approved, the old school has not released the pupil'
            else '; no approved transfer explains it'
        end as description_en,
        rolls.load_ids
    from rolls
    inner join evaluation_year on rolls.school_start_year = evaluation_year.school_start_year
),

-- years whose registers are all there
registered_year as (
    select
        county_code,
        evaluation_year
    from county_semester
    group by county_code, evaluation_year
    having min(case when has_pupil then 1 else 0 end) = 1
),

-- I17: money for more inclusive pupils than the register marks, this school year or the one before: a fiscal year has
-- a semester of each
inclusive_grant as (
    select
        present.school_code,
        present.fiscal_year,
        present.county_code,
        present.claimed_pupil_count,
        present.paid_yuan,
        case
            when coalesce(previous.pupil_count, 0) > present.pupil_count then previous.pupil_count
            else present.pupil_count
        end as known_count,
        {{ merged_list('present.fund_load_ids', 'present.roll_load_ids') }} as load_ids
    from operating_grant as present
    left join operating_grant as previous
        on present.school_code = previous.school_code
        and present.grant_kind = previous.grant_kind
        and present.fiscal_year = previous.fiscal_year + 1
    where present.grant_kind = 'inclusive' and present.claimed_pupil_count > 0
),

beyond_the_register as (
    select
        'I17' as rule_code,
        'inclusive' as case_kind,
        {{ evidence(['inclusive_grant.school_code', 'inclusive_grant.fiscal_year']) }} as case_key,
        {{ evidence(['inclusive_grant.claimed_pupil_count', 'inclusive_grant.known_count',
            'inclusive_grant.paid_yuan']) }} as evidence_text,
        evaluation_year.evaluation_year,
        inclusive_grant.county_code,
        cast(null as {{ dbt.type_string() }}) as home_county_code,
        cast(null as {{ dbt.type_string() }}) as person_token,
        inclusive_grant.school_code,
        evaluation_year.stock_snapshot_date as since_date,
        round(
            inclusive_grant.paid_yuan * (inclusive_grant.claimed_pupil_count - inclusive_grant.known_count)
            / inclusive_grant.claimed_pupil_count, 2
        ) as amount_at_risk_yuan,
        '经费按 ' || {{ as_text('inclusive_grant.claimed_pupil_count') }} || ' 名随班就读学生拨付，学籍标记 '
        || {{ as_text('inclusive_grant.known_count') }} || ' 名' as description_zh,
        'paid for ' || {{ as_text('inclusive_grant.claimed_pupil_count') }} || ' inclusive pupils, the register marks '
        || {{ as_text('inclusive_grant.known_count') }} as description_en,
        inclusive_grant.load_ids
    from inclusive_grant
    inner join evaluation_year on inclusive_grant.fiscal_year = evaluation_year.fiscal_year
    inner join registered_year
        on inclusive_grant.county_code = registered_year.county_code
        and evaluation_year.evaluation_year = registered_year.evaluation_year
    where inclusive_grant.claimed_pupil_count > inclusive_grant.known_count
),

-- I19: the statistics of a county and stage jump, and the register saw nothing of the kind
reported_stage as (
    select
        county_code,
        stage_code,
        school_start_year,
        sum(enrollment_count) as pupil_count,
        {{ sorted_list('load_id') }} as load_ids
    from enrollment
    group by county_code, stage_code, school_start_year
),

registered_stage as (
    select
        county_code,
        stage_code,
        school_start_year,
        count(*) as pupil_count
    from pupil
    where is_primary_roll
    group by county_code, stage_code, school_start_year
),

stage_change as (
    select
        present.county_code,
        present.stage_code,
        present.school_start_year,
        previous.pupil_count as previous_count,
        present.pupil_count as present_count,
        previous_roll.pupil_count as previous_roll_count,
        present_roll.pupil_count as present_roll_count,
        {{ merged_list('present.load_ids', 'previous.load_ids') }} as load_ids
    from reported_stage as present
    inner join reported_stage as previous
        on present.county_code = previous.county_code
        and present.stage_code = previous.stage_code
        and present.school_start_year = previous.school_start_year + 1
    inner join registered_stage as present_roll
        on present.county_code = present_roll.county_code
        and present.stage_code = present_roll.stage_code
        and present.school_start_year = present_roll.school_start_year
    inner join registered_stage as previous_roll
        on previous.county_code = previous_roll.county_code
        and previous.stage_code = previous_roll.stage_code
        and previous.school_start_year = previous_roll.school_start_year
),

enrollment_jump as (
    select
        'I19' as rule_code,
        'enrollment_jump' as case_kind,
        {{ evidence(["'enrollment'", 'stage_change.county_code', 'stage_change.stage_code',
            'stage_change.school_start_year']) }} as case_key,
        {{ evidence(['stage_change.previous_count', 'stage_change.present_count', 'stage_change.previous_roll_count',
            'stage_change.present_roll_count']) }} as evidence_text,
        evaluation_year.evaluation_year,
        stage_change.county_code,
        cast(null as {{ dbt.type_string() }}) as home_county_code,
        cast(null as {{ dbt.type_string() }}) as person_token,
        cast(null as {{ dbt.type_string() }}) as school_code,
        evaluation_year.stock_snapshot_date as since_date,
        0 as amount_at_risk_yuan,
        stage.name_zh || '统计在校生由 ' || {{ as_text('stage_change.previous_count') }} || ' 人变为 '
        || {{ as_text('stage_change.present_count') }} || ' 人，学籍没有相应变化' as description_zh,
        'statistics of ' || stage.name_en || ' schools go from ' || {{ as_text('stage_change.previous_count') }}
        || ' to ' || {{ as_text('stage_change.present_count') }} || ' pupils, the register does not' as description_en,
        stage_change.load_ids
    from stage_change
    inner join evaluation_year on stage_change.school_start_year = evaluation_year.school_start_year
    inner join evaluation_year as year_before
        on stage_change.school_start_year - 1 = year_before.school_start_year
    inner join stage on stage_change.stage_code = stage.stage_code
    cross join (
        select
            {{ threshold('I19', 'enrollment_percent') }} as percent,
            {{ threshold('I19', 'min_enrollment') }} as least
    ) as bound
    where
        stage_change.previous_count >= bound.least
        and abs(stage_change.present_count - stage_change.previous_count) * 100
        > stage_change.previous_count * bound.percent
        and abs(stage_change.present_roll_count - stage_change.previous_roll_count) * 100
        <= stage_change.previous_roll_count * bound.percent
),

-- ratios jump too; chance moves those of small counties, so the change must exceed several standard errors as well.
-- The denominator of another vintage is another measure, not a jump
watched_ratio as (
    select
        goal.*,
        population_used.population_vintage,
        case
            when goal.indicator_code = 'G2b' then {{ threshold('I19', 'retention_points') }}
            else {{ threshold('I19', 'gross_ratio_points') }}
        end as max_points
    from goal
    left join population_used
        on goal.evaluation_year = population_used.evaluation_year and goal.basis = population_used.population_basis
    where
        goal.subgroup = 'all'
        and (
            (goal.indicator_code = 'G2b' and goal.variant = 'ret9_unadj')
            or (goal.indicator_code = 'G1b' and goal.basis = 'resident')
            or (goal.indicator_code = 'G4' and goal.basis = 'registered')
        )
        and goal.numerator is not null and goal.denominator > 0
),

ratio_change as (
    select
        present.indicator_code,
        present.area_code as county_code,
        present.evaluation_year,
        present.max_points,
        previous.numerator as previous_numerator,
        previous.denominator as previous_denominator,
        present.numerator as present_numerator,
        present.denominator as present_denominator,
        100 * (
            cast(present.numerator as numeric(38, 10)) / present.denominator
            - cast(previous.numerator as numeric(38, 10)) / previous.denominator
        ) as points,
        10000 * (
            cast(present.numerator as numeric(38, 10)) / (present.denominator * present.denominator)
            + cast(previous.numerator as numeric(38, 10)) / (previous.denominator * previous.denominator)
        ) as variance,
        {{ merged_list('present.numerator_load_ids', 'present.denominator_load_ids') }} as load_ids
    from watched_ratio as present
    inner join watched_ratio as previous
        on present.indicator_code = previous.indicator_code
        and present.area_code = previous.area_code
        and present.evaluation_year = previous.evaluation_year + 1
        and coalesce(present.population_vintage, '-1') = coalesce(previous.population_vintage, '-1')
),

ratio_jump as (
    select
        'I19' as rule_code,
        'ratio_jump' as case_kind,
        {{ evidence(["'ratio'", 'ratio_change.county_code', 'ratio_change.indicator_code',
            'ratio_change.evaluation_year']) }} as case_key,
        {{ evidence(['ratio_change.previous_numerator', 'ratio_change.previous_denominator',
            'ratio_change.present_numerator', 'ratio_change.present_denominator']) }} as evidence_text,
        evaluation_year.evaluation_year,
        ratio_change.county_code,
        cast(null as {{ dbt.type_string() }}) as home_county_code,
        cast(null as {{ dbt.type_string() }}) as person_token,
        cast(null as {{ dbt.type_string() }}) as school_code,
        evaluation_year.stock_snapshot_date as since_date,
        0 as amount_at_risk_yuan,
        ratio_change.indicator_code || ' 一年变化 '
        || {{ as_text('cast(ratio_change.points as numeric(10, 1))') }} || ' 个百分点' as description_zh,
        ratio_change.indicator_code || ' changes by '
        || {{ as_text('cast(ratio_change.points as numeric(10, 1))') }} || ' percentage points in a year'
            as description_en,
        ratio_change.load_ids
    from ratio_change
    inner join evaluation_year on ratio_change.evaluation_year = evaluation_year.evaluation_year
    cross join (select {{ threshold('I19', 'standard_errors') }} as standard_errors) as bound
    where
        abs(ratio_change.points) > ratio_change.max_points
        and ratio_change.points * ratio_change.points
        > bound.standard_errors * bound.standard_errors * ratio_change.variance
),

together as (
    select * from inflated
    union all
    select * from impossible_age
    union all
    select * from on_two_rolls
    union all
    select * from beyond_the_register
    union all
    select * from enrollment_jump
    union all
    select * from ratio_jump
),

final as (
    select
        rule_code,
        case_kind,
        case_key,
        evidence_text,
        evaluation_year,
        county_code,
        home_county_code,
        person_token,
        school_code,
        cast(null as {{ dbt.type_string() }}) as entitlement_code,
        cast(null as {{ dbt.type_string() }}) as semester_code,
        cast(null as {{ dbt.type_string() }}) as document_number,
        since_date,
        cast(amount_at_risk_yuan as numeric(14, 2)) as amount_at_risk_yuan,
        description_zh,
        description_en,
        load_ids
    from together
)

select * from final
