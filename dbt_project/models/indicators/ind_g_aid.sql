-- grain: one row per indicator × variant × county × evaluation year × subgroup × basis (main goals of aid: G13, G15)
with

county_term as (select * from {{ ref('int_county_term') }}),
county_year as (select * from {{ ref('int_county_year') }}),
feed_coverage as (select * from {{ ref('int_feed_coverage') }}),
coverage as (select * from {{ ref('int_aid_coverage') }}),
aid_status as (select * from {{ ref('int_aid_status') }}),
semester as (select * from {{ ref('dim_semester') }}),
poor_person as (select * from {{ ref('int_poor_person_roll') }}),
recognition as (select * from {{ ref('fct_aid_recognition') }}),
school_status as (select * from {{ ref('poverty_school_statuses') }}),
area as (select * from {{ ref('dim_area') }}),
evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),
document as (select * from {{ ref('fct_org_document') }}),
fund_flow as (select * from {{ ref('fct_fund_flow') }}),
fund_program as (select * from {{ ref('fund_programs') }}),
fund_stage as (select * from {{ ref('fund_stages') }}),

g13_basis as (
    select 'plan_strict' as basis
    union all
    select 'national_broad' as basis
),

-- one person in one semester, with all that is due to them
person_semester as (
    select
        person_token,
        evaluation_year,
        term,
        min(home_county_code) as county_code,
        sum(case when is_due_plan_strict then 1 else 0 end) as strict_due_count,
        sum(case when is_due_plan_strict and is_covered then 1 else 0 end) as strict_covered_count,
        count(*) as broad_due_count,
        sum(case when is_covered then 1 else 0 end) as broad_covered_count
    from aid_status
    where is_due_national_broad
    group by person_token, evaluation_year, term
),

-- loads of a line are those of its entitlement rows; persons are counted apart and bring none of their own
line as (
    select
        'covered_persons' as variant,
        county_code,
        evaluation_year,
        term,
        'plan_strict' as basis,
        sum(case when strict_covered_count = strict_due_count then 1 else 0 end) as numerator,
        count(*) as denominator,
        {{ empty_list() }} as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from person_semester
    where strict_due_count > 0
    group by county_code, evaluation_year, term
    union all
    select
        'covered_persons' as variant,
        county_code,
        evaluation_year,
        term,
        'national_broad' as basis,
        sum(case when broad_covered_count = broad_due_count then 1 else 0 end) as numerator,
        count(*) as denominator,
        {{ empty_list() }} as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from person_semester
    group by county_code, evaluation_year, term
    union all
    select
        'covered_persons' as variant,
        home_county_code as county_code,
        evaluation_year,
        term,
        basis,
        0 as numerator,
        0 as denominator,
        paid_load_ids as numerator_load_ids,
        due_load_ids as denominator_load_ids
    from coverage
    union all
    select
        'covered_entitlements' as variant,
        home_county_code as county_code,
        evaluation_year,
        term,
        basis,
        covered_count as numerator,
        due_count as denominator,
        paid_load_ids as numerator_load_ids,
        due_load_ids as denominator_load_ids
    from coverage
    union all
    select
        'covered_by_school_county' as variant,
        school_county_code as county_code,
        evaluation_year,
        term,
        basis,
        covered_count as numerator,
        due_count as denominator,
        paid_load_ids as numerator_load_ids,
        due_load_ids as denominator_load_ids
    from coverage
    union all
    select
        'adequacy' as variant,
        home_county_code as county_code,
        evaluation_year,
        term,
        basis,
        {{ fen('paid_yuan') }} as numerator,
        {{ fen('due_yuan') }} as denominator,
        paid_load_ids as numerator_load_ids,
        due_load_ids as denominator_load_ids
    from coverage
),

-- poor persons of school age with a schooling status, and which of them a roll or a college's recognition knows
poor_pupil as (
    select
        poor_person.known_person_token,
        poor_person.county_code,
        poor_person.is_on_roll,
        poor_person.poverty_year,
        poor_person.load_id,
        poor_person.roll_load_id
    from poor_person
    left join school_status
        on poor_person.school_status = school_status.school_status
        and poor_person.age_years between school_status.age_from and school_status.age_to
    where
        poor_person.age_years between {{ var('aided_age_from') }} and {{ var('aided_age_to') }}
        and poor_person.school_status is not null
        and coalesce(school_status.is_pupil, true)
),

in_college as (
    select
        semester_code,
        person_token,
        min(load_id) as load_id
    from recognition
    where stage_code = 'higher'
    group by semester_code, person_token
),

matched_cell as (
    select
        poor_pupil.county_code,
        semester.evaluation_year,
        semester.term,
        poor_pupil.load_id,
        case
            when poor_pupil.is_on_roll then poor_pupil.roll_load_id
            else in_college.load_id
        end as matched_load_id,
        sum(case when poor_pupil.is_on_roll or in_college.person_token is not null then 1 else 0 end) as numerator,
        count(*) as denominator
    from poor_pupil
    inner join semester on poor_pupil.poverty_year = semester.poverty_year and semester.is_in_scope
    left join in_college
        on semester.semester_code = in_college.semester_code
        and poor_pupil.known_person_token = in_college.person_token
    group by
        poor_pupil.county_code,
        semester.evaluation_year,
        semester.term,
        poor_pupil.load_id,
        case when poor_pupil.is_on_roll then poor_pupil.roll_load_id else in_college.load_id end
),

wrongly_paid_cell as (
    select
        home_county_code as county_code,
        evaluation_year,
        term,
        payment_load_ids,
        count(*) as numerator
    from aid_status
    where status = 'not_expected'
    group by home_county_code, evaluation_year, term, payment_load_ids
),

-- figures and loads under one another, so that a single grouping pools them
stacked as (
    select
        variant,
        county_code,
        evaluation_year,
        term,
        basis,
        numerator,
        denominator,
        cast(null as bigint) as numerator_load_id,
        cast(null as bigint) as denominator_load_id
    from line
    union all
    select
        line.variant,
        line.county_code,
        line.evaluation_year,
        line.term,
        line.basis,
        0 as numerator,
        0 as denominator,
        item.load_id as numerator_load_id,
        null as denominator_load_id
    from line
    {{ each_of('line.numerator_load_ids', 'item') }}
    union all
    select
        line.variant,
        line.county_code,
        line.evaluation_year,
        line.term,
        line.basis,
        0 as numerator,
        0 as denominator,
        null as numerator_load_id,
        item.load_id as denominator_load_id
    from line
    {{ each_of('line.denominator_load_ids', 'item') }}
    union all
    select
        'matched_rate' as variant,
        county_code,
        evaluation_year,
        term,
        'none' as basis,
        numerator,
        denominator,
        matched_load_id as numerator_load_id,
        load_id as denominator_load_id
    from matched_cell
    union all
    select
        'not_expected' as variant,
        county_code,
        evaluation_year,
        term,
        'none' as basis,
        numerator,
        0 as denominator,
        null as numerator_load_id,
        null as denominator_load_id
    from wrongly_paid_cell
    union all
    select
        'not_expected' as variant,
        wrongly_paid_cell.county_code,
        wrongly_paid_cell.evaluation_year,
        wrongly_paid_cell.term,
        'none' as basis,
        0 as numerator,
        0 as denominator,
        item.load_id as numerator_load_id,
        null as denominator_load_id
    from wrongly_paid_cell
    {{ each_of('wrongly_paid_cell.payment_load_ids', 'item') }}
),

g13_variant as (
    select
        line_variant.variant,
        g13_basis.basis
    from (
        select 'covered_persons' as variant
        union all
        select 'covered_entitlements' as variant
        union all
        select 'covered_by_school_county' as variant
        union all
        select 'adequacy' as variant
    ) as line_variant
    cross join g13_basis
    union all
    select
        'matched_rate' as variant,
        'none' as basis
    union all
    select
        'not_expected' as variant,
        'none' as basis
),

g13_total as (
    select
        county_term.county_code,
        county_term.evaluation_year,
        county_term.subgroup,
        stacked.variant,
        stacked.basis,
        sum(stacked.numerator) as numerator,
        sum(stacked.denominator) as denominator,
        {{ sorted_list('stacked.numerator_load_id') }} as numerator_load_ids,
        {{ sorted_list('stacked.denominator_load_id') }} as denominator_load_ids
    from stacked
    inner join county_term
        on stacked.county_code = county_term.county_code
        and stacked.evaluation_year = county_term.evaluation_year
        and county_term.subgroup in ('all', stacked.term)
    group by
        county_term.county_code, county_term.evaluation_year, county_term.subgroup, stacked.variant, stacked.basis
),

g13 as (
    select
        'G13' as indicator_code,
        g13_variant.variant,
        county_term.county_code,
        county_term.evaluation_year,
        county_term.subgroup,
        g13_variant.basis,
        case
            when
                county_term.has_poor_pupil and county_term.has_aid_recognition
                and (county_term.has_aid_payment or g13_variant.variant = 'matched_rate')
                then coalesce(g13_total.numerator, 0)
        end as numerator,
        case
            when g13_variant.variant = 'not_expected' then null
            when
                county_term.has_poor_pupil
                and (county_term.has_aid_recognition or g13_variant.variant = 'matched_rate')
                then coalesce(g13_total.denominator, 0)
        end as denominator,
        coalesce(g13_total.numerator_load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(g13_total.denominator_load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_term
    cross join g13_variant
    left join g13_total
        on county_term.county_code = g13_total.county_code
        and county_term.evaluation_year = g13_total.evaluation_year
        and county_term.subgroup = g13_total.subgroup
        and g13_variant.variant = g13_total.variant
        and g13_variant.basis = g13_total.basis
),

-- G15: a stage counts where a policy is in force at year end and money was allocated to the county for it; of several
-- the first by their own dates and numbers is named as the source, whatever was loaded first
ranked_policy as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        document.fund_stage,
        document.load_id,
        row_number() over (
            partition by county_year.county_code, county_year.evaluation_year, document.fund_stage
            order by document.effective_from_date asc, document.document_year asc, document.document_id asc
        ) as preference
    from county_year
    inner join area
        on county_year.county_code = area.area_code and area.area_level = 'county' and area.is_current
    inner join evaluation_year on county_year.evaluation_year = evaluation_year.evaluation_year
    inner join document
        on document.area_code in (area.area_code, area.city_code, area.region_code)
        and evaluation_year.poverty_snapshot_date >= document.effective_from_date
        and evaluation_year.poverty_snapshot_date <= coalesce(document.effective_to_date, cast('9999-12-31' as date))
    where document.document_type = 'aid_policy'
),

stage_policy as (select * from ranked_policy where preference = 1),

ranked_budget as (
    select
        fund_flow.county_code,
        evaluation_year.evaluation_year,
        fund_flow.fund_stage,
        fund_flow.load_id,
        row_number() over (
            partition by fund_flow.county_code, evaluation_year.evaluation_year, fund_flow.fund_stage
            order by fund_flow.entry_date asc, fund_flow.entry_number asc
        ) as preference
    from fund_flow
    inner join fund_program on fund_flow.program_code = fund_program.program_code
    inner join evaluation_year on fund_flow.fiscal_year = evaluation_year.fiscal_year
    where fund_flow.movement = 'allocated' and fund_program.is_student_aid
),

stage_budget as (select * from ranked_budget where preference = 1),

funded_stage as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        count(*) as stage_count,
        count(case when stage_policy.load_id is not null and stage_budget.load_id is not null then 1 end)
            as funded_count,
        {{ sorted_list('case when stage_budget.load_id is not null then stage_policy.load_id end') }}
            as policy_load_ids,
        {{ sorted_list('case when stage_policy.load_id is not null then stage_budget.load_id end') }}
            as budget_load_ids
    from county_year
    cross join fund_stage
    left join stage_policy
        on county_year.county_code = stage_policy.county_code
        and county_year.evaluation_year = stage_policy.evaluation_year
        and fund_stage.fund_stage = stage_policy.fund_stage
    left join stage_budget
        on county_year.county_code = stage_budget.county_code
        and county_year.evaluation_year = stage_budget.evaluation_year
        and fund_stage.fund_stage = stage_budget.fund_stage
    group by county_year.county_code, county_year.evaluation_year
),

-- that a stage has no policy is known from all files of the feed: a later one may tell of an earlier start
looked_at as (select {{ sorted_list('load_id') }} as load_ids from document),

g15 as (
    select
        'G15' as indicator_code,
        'funded_stages' as variant,
        funded_stage.county_code,
        funded_stage.evaluation_year,
        'all' as subgroup,
        'none' as basis,
        case
            when policy_delivered.row_count is not null and budget_delivered.row_count is not null
                then funded_stage.funded_count
        end as numerator,
        case when policy_delivered.row_count is not null then funded_stage.stage_count end as denominator,
        {{ merged_list('funded_stage.policy_load_ids', 'funded_stage.budget_load_ids') }} as numerator_load_ids,
        case when policy_delivered.row_count is not null then looked_at.load_ids else {{ empty_list() }} end
            as denominator_load_ids
    from funded_stage
    cross join looked_at
    left join feed_coverage as policy_delivered
        on policy_delivered.feed = 'policy_document'
        and funded_stage.county_code = policy_delivered.county_code
        and funded_stage.evaluation_year = policy_delivered.coverage_year
    left join feed_coverage as budget_delivered
        on budget_delivered.feed = 'fund_ledger'
        and funded_stage.county_code = budget_delivered.county_code
        and funded_stage.evaluation_year = budget_delivered.coverage_year
),

together as (
    select * from g13
    union all
    select * from g15
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
