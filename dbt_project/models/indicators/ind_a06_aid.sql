-- grain: one row per indicator × variant × county × evaluation year × subgroup × basis (action 6, aid by semester)
with

county_term as (select * from {{ ref('int_county_term') }}),
coverage as (select * from {{ ref('int_aid_coverage') }}),
aid_status as (select * from {{ ref('int_aid_status') }}),
entitlement as (select * from {{ ref('dim_entitlement') }}),
served_by as (select * from {{ ref('entitlement_indicators') }}),
semester as (select * from {{ ref('dim_semester') }}),
indicator as (select * from {{ ref('dim_indicator') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
poor_person as (select * from {{ ref('int_poor_person_roll') }}),
recognition as (select * from {{ ref('fct_aid_recognition') }}),

-- which entitlements an indicator reads, and on which basis it is published
entitlement_document as (
    select
        entitlement_code,
        min(stage_code) as stage_code,
        max(case when scope = 'county_policy' then 1 else 0 end) as needs_document
    from entitlement
    group by entitlement_code
),

served as (
    select
        served_by.indicator_code,
        served_by.variant,
        served_by.entitlement_code,
        served_by.denominator_rule,
        entitlement_document.stage_code,
        indicator.basis,
        case when indicator.basis = 'national_broad' then 'national_broad' else 'plan_strict' end as counted_basis
    from served_by
    inner join entitlement_document on served_by.entitlement_code = entitlement_document.entitlement_code
    inner join indicator
        on served_by.indicator_code = indicator.indicator_code and served_by.variant = indicator.variant
),

semester_indicator as (
    select
        served_by.indicator_code,
        served_by.variant,
        indicator.basis,
        max(entitlement_document.needs_document) as needs_document
    from served_by
    inner join entitlement_document on served_by.entitlement_code = entitlement_document.entitlement_code
    inner join indicator
        on served_by.indicator_code = indicator.indicator_code and served_by.variant = indicator.variant
    group by served_by.indicator_code, served_by.variant, indicator.basis
    union all
    select
        'A6.0' as indicator_code,
        'ordinary_first' as variant,
        'none' as basis,
        0 as needs_document
    union all
    select
        'A6.9' as indicator_code,
        'others_placed' as variant,
        'none' as basis,
        0 as needs_document
),

-- covered rows by due rows; where all pupils of a stage are the denominator, only the numerator comes from here
covered_line as (
    select
        served.indicator_code,
        served.variant,
        served.basis,
        coverage.home_county_code as county_code,
        coverage.evaluation_year,
        coverage.term,
        case when served.denominator_rule = 'all_components' then 0 else coverage.covered_count end as numerator,
        case when served.denominator_rule = 'due_rows' then coverage.due_count else 0 end as denominator,
        coverage.paid_load_ids as numerator_load_ids,
        case when served.denominator_rule = 'stage_roll' then {{ empty_list() }} else coverage.due_load_ids end
            as denominator_load_ids
    from coverage
    inner join served
        on coverage.entitlement_code = served.entitlement_code and coverage.basis = served.counted_basis
),

-- A6.7: every pupil of the stage on the roll of the semester
stage_roll as (
    select
        coalesce(home_county_code, county_code) as county_code,
        school_start_year,
        stage_code,
        load_id,
        count(*) as pupil_count
    from pupil
    where
        is_primary_roll
        and stage_code in (select served.stage_code from served where served.denominator_rule = 'stage_roll')
    group by coalesce(home_county_code, county_code), school_start_year, stage_code, load_id
),

stage_roll_cell as (
    select
        stage_indicator.indicator_code,
        stage_indicator.variant,
        stage_indicator.basis,
        stage_roll.county_code,
        semester.evaluation_year,
        semester.term,
        stage_roll.pupil_count,
        stage_roll.load_id
    from (
        select distinct  -- one row per indicator: it has one per entitlement
            indicator_code,
            variant,
            basis,
            stage_code
        from served
        where denominator_rule = 'stage_roll'
    ) as stage_indicator
    inner join stage_roll on stage_indicator.stage_code = stage_roll.stage_code
    inner join semester on stage_roll.school_start_year = semester.school_start_year and semester.is_in_scope
),

-- A6.5: all components due to one person in one semester, and all of them covered
component_count as (
    select
        indicator_code,
        variant,
        basis,
        counted_basis,
        count(*) as component_count
    from served
    where denominator_rule = 'all_components'
    group by indicator_code, variant, basis, counted_basis
),

component_person as (
    select
        served.indicator_code,
        served.variant,
        served.basis,
        aid_status.person_token,
        aid_status.evaluation_year,
        aid_status.term,
        min(aid_status.home_county_code) as county_code,
        count(*) as due_count,
        sum(case when aid_status.is_covered then 1 else 0 end) as covered_count
    from aid_status
    inner join served on aid_status.entitlement_code = served.entitlement_code
    where
        served.denominator_rule = 'all_components'
        and case
            when served.counted_basis = 'plan_strict' then aid_status.is_due_plan_strict
            else aid_status.is_due_national_broad
        end
    group by
        served.indicator_code,
        served.variant,
        served.basis,
        aid_status.person_token,
        aid_status.evaluation_year,
        aid_status.term
),

component_cell as (
    select
        component_person.indicator_code,
        component_person.variant,
        component_person.basis,
        component_person.county_code,
        component_person.evaluation_year,
        component_person.term,
        sum(case when component_person.covered_count = component_person.due_count then 1 else 0 end) as numerator,
        count(*) as denominator
    from component_person
    inner join component_count
        on component_person.indicator_code = component_count.indicator_code
        and component_person.variant = component_count.variant
        and component_person.basis = component_count.basis
        and component_person.due_count = component_count.component_count
    group by
        component_person.indicator_code,
        component_person.variant,
        component_person.basis,
        component_person.county_code,
        component_person.evaluation_year,
        component_person.term
),

-- A6.0: whoever received something of the plan should have had the ordinary aid of the stage first
tilt_person as (
    select
        aid_status.person_token,
        aid_status.evaluation_year,
        aid_status.term,
        min(aid_status.home_county_code) as county_code,
        sum(case when entitlement.tier = 'tilt' and aid_status.is_covered then 1 else 0 end) as tilt_covered_count,
        sum(case when entitlement.tier = 'ordinary' then 1 else 0 end) as ordinary_due_count,
        sum(case when entitlement.tier = 'ordinary' and aid_status.is_covered then 1 else 0 end)
            as ordinary_covered_count
    from aid_status
    inner join entitlement on aid_status.entitlement_key = entitlement.entitlement_key
    where aid_status.is_due_plan_strict and entitlement.tier in ('ordinary', 'tilt')
    group by aid_status.person_token, aid_status.evaluation_year, aid_status.term
),

tilt_cell as (
    select
        county_code,
        evaluation_year,
        term,
        sum(case when ordinary_covered_count = ordinary_due_count then 1 else 0 end) as numerator,
        count(*) as denominator
    from tilt_person
    where tilt_covered_count > 0 and ordinary_due_count > 0
    group by county_code, evaluation_year, term
),

tilt_line as (
    select
        coverage.home_county_code as county_code,
        coverage.evaluation_year,
        coverage.term,
        coverage.paid_load_ids,
        coverage.due_load_ids
    from coverage
    inner join (
        select
            entitlement_code,
            min(tier) as tier
        from entitlement
        group by entitlement_code
    ) as tier_of on coverage.entitlement_code = tier_of.entitlement_code
    where coverage.basis = 'plan_strict' and tier_of.tier in ('ordinary', 'tilt')
),

-- A6.9: applicants for a work-study post who are not registered poor
other_applicant as (
    select
        semester_code,
        person_token,
        min(county_code) as county_code,
        min(load_id) as load_id
    from recognition
    where stage_code = 'higher' and has_asked_work_study
    group by semester_code, person_token
),

placed as (
    select
        aid_status.semester_code,
        aid_status.person_token,
        min(aid_status.payment_load_ids) as payment_load_ids
    from aid_status
    inner join served_by on aid_status.entitlement_code = served_by.entitlement_code
    where served_by.indicator_code = 'A6.9' and aid_status.is_covered
    group by aid_status.semester_code, aid_status.person_token
),

other_cell as (
    select
        other_applicant.county_code,
        semester.evaluation_year,
        semester.term,
        other_applicant.load_id,
        coalesce(placed.payment_load_ids, {{ empty_list() }}) as payment_load_ids,
        count(placed.person_token) as numerator,
        count(*) as denominator
    from other_applicant
    inner join semester on other_applicant.semester_code = semester.semester_code and semester.is_in_scope
    left join poor_person
        on semester.poverty_year = poor_person.poverty_year
        and other_applicant.person_token = poor_person.known_person_token
    left join placed
        on other_applicant.semester_code = placed.semester_code
        and other_applicant.person_token = placed.person_token
    where poor_person.known_person_token is null
    group by
        other_applicant.county_code,
        semester.evaluation_year,
        semester.term,
        other_applicant.load_id,
        coalesce(placed.payment_load_ids, {{ empty_list() }})
),

line as (
    select
        indicator_code,
        variant,
        basis,
        county_code,
        evaluation_year,
        term,
        numerator,
        denominator,
        numerator_load_ids,
        denominator_load_ids
    from covered_line
    union all
    select
        indicator_code,
        variant,
        basis,
        county_code,
        evaluation_year,
        term,
        numerator,
        denominator,
        {{ empty_list() }} as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from component_cell
    union all
    select
        'A6.0' as indicator_code,
        'ordinary_first' as variant,
        'none' as basis,
        county_code,
        evaluation_year,
        term,
        numerator,
        denominator,
        {{ empty_list() }} as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from tilt_cell
    union all
    select
        'A6.0' as indicator_code,
        'ordinary_first' as variant,
        'none' as basis,
        county_code,
        evaluation_year,
        term,
        0 as numerator,
        0 as denominator,
        paid_load_ids as numerator_load_ids,
        due_load_ids as denominator_load_ids
    from tilt_line
    union all
    select
        'A6.9' as indicator_code,
        'others_placed' as variant,
        'none' as basis,
        county_code,
        evaluation_year,
        term,
        numerator,
        denominator,
        payment_load_ids as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from other_cell
),

-- figures and loads under one another, so that a single grouping pools them
stacked as (
    select
        indicator_code,
        variant,
        basis,
        county_code,
        evaluation_year,
        term,
        numerator,
        denominator,
        cast(null as bigint) as numerator_load_id,
        cast(null as bigint) as denominator_load_id
    from line
    union all
    select
        line.indicator_code,
        line.variant,
        line.basis,
        line.county_code,
        line.evaluation_year,
        line.term,
        0 as numerator,
        0 as denominator,
        item.load_id as numerator_load_id,
        null as denominator_load_id
    from line
    {{ each_of('line.numerator_load_ids', 'item') }}
    union all
    select
        line.indicator_code,
        line.variant,
        line.basis,
        line.county_code,
        line.evaluation_year,
        line.term,
        0 as numerator,
        0 as denominator,
        null as numerator_load_id,
        item.load_id as denominator_load_id
    from line
    {{ each_of('line.denominator_load_ids', 'item') }}
    union all
    select
        indicator_code,
        variant,
        basis,
        county_code,
        evaluation_year,
        term,
        0 as numerator,
        pupil_count as denominator,
        null as numerator_load_id,
        load_id as denominator_load_id
    from stage_roll_cell
    union all
    select
        'A6.9' as indicator_code,
        'others_placed' as variant,
        'none' as basis,
        county_code,
        evaluation_year,
        term,
        0 as numerator,
        0 as denominator,
        null as numerator_load_id,
        load_id as denominator_load_id
    from other_cell
),

semester_total as (
    select
        stacked.indicator_code,
        stacked.variant,
        stacked.basis,
        county_term.county_code,
        county_term.evaluation_year,
        county_term.subgroup,
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
        stacked.indicator_code,
        stacked.variant,
        stacked.basis,
        county_term.county_code,
        county_term.evaluation_year,
        county_term.subgroup
),

semester_rate as (
    select
        semester_indicator.indicator_code,
        semester_indicator.variant,
        county_term.county_code,
        county_term.evaluation_year,
        county_term.subgroup,
        semester_indicator.basis,
        case
            when
                county_term.has_poor_pupil and county_term.has_aid_recognition and county_term.has_aid_payment
                and (county_term.has_policy_document or semester_indicator.needs_document = 0)
                then coalesce(semester_total.numerator, 0)
        end as numerator,
        case
            when
                county_term.has_poor_pupil and county_term.has_aid_recognition
                and (county_term.has_policy_document or semester_indicator.needs_document = 0)
                then coalesce(semester_total.denominator, 0)
        end as denominator,
        coalesce(semester_total.numerator_load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(semester_total.denominator_load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_term
    cross join semester_indicator
    left join semester_total
        on county_term.county_code = semester_total.county_code
        and county_term.evaluation_year = semester_total.evaluation_year
        and county_term.subgroup = semester_total.subgroup
        and semester_indicator.indicator_code = semester_total.indicator_code
        and semester_indicator.variant = semester_total.variant
        and semester_indicator.basis = semester_total.basis
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
    from semester_rate
)

select * from final
