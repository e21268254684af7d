-- grain: one row per indicator × variant × county × evaluation year × subgroup × basis (main goals, G)
with

county_year as (select * from {{ ref('int_county_year') }}),
preschool_ger as (select * from {{ ref('int_preschool_ger') }}),
enrollment as (select * from {{ ref('fct_school_enrollment') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
event as (select * from {{ ref('fct_student_event') }}),
population as (select * from {{ ref('fct_population_age') }}),
population_used as (select * from {{ ref('bridge_evaluation_year_population') }}),
poor_person as (select * from {{ ref('fct_poverty_person') }}),
person_match as (select * from {{ ref('bridge_person_match') }}),
disabled_child as (select * from {{ ref('fct_disabled_child') }}),
disability as (select * from {{ ref('dim_disability') }}),
grade as (select * from {{ ref('dim_grade') }}),

-- a person's roll joins other feeds only where the token comes from an ID number; a surrogate token never joins
joinable_roll as (
    select
        person_token,
        school_start_year,
        load_id
    from pupil
    where is_primary_roll and token_basis = 'id_number'
),

-- G1a, G1b: the interim and the final goal read the same ratio
g1_goal as (
    select 'G1a' as indicator_code
    union all
    select 'G1b' as indicator_code
),

g1 as (
    select
        goal.indicator_code,
        'ger3' as variant,
        preschool_ger.county_code,
        preschool_ger.evaluation_year,
        'all' as subgroup,
        preschool_ger.basis,
        preschool_ger.numerator,
        preschool_ger.denominator,
        preschool_ger.numerator_load_ids,
        preschool_ger.denominator_load_ids
    from preschool_ger
    cross join g1_goal as goal
),

-- G2: the cohort in grade 9 in school year Y sat in grade g in school year Y - 9 + g
cohort_cell as (
    select
        county_year.county_code,
        county_year.evaluation_year,
        grade.compulsory_grade_number as grade_number,
        enrollment.enrollment_count,
        coalesce(enrollment.transfer_in_count, 0) as transfer_in_count,
        coalesce(enrollment.transfer_out_count, 0) as transfer_out_count,
        coalesce(enrollment.death_count, 0) as death_count,
        enrollment.load_id
    from county_year
    inner join enrollment on county_year.county_code = enrollment.county_code
    inner join grade
        on enrollment.grade_code = grade.grade_code
        and enrollment.stage_code = grade.stage_code
        and enrollment.school_start_year = county_year.school_start_year - 9 + grade.compulsory_grade_number
),

cohort as (
    select
        county_code,
        evaluation_year,
        sum(case when grade_number = 9 then enrollment_count else 0 end) as grade_nine_count,
        sum(case when grade_number = 1 then enrollment_count else 0 end) as grade_one_count,
        sum(case when grade_number > 1 then transfer_in_count else 0 end) as transfer_in_count,
        sum(case when grade_number > 1 then transfer_out_count else 0 end) as transfer_out_count,
        sum(case when grade_number > 1 then death_count else 0 end) as death_count,
        {{ sorted_list('case when grade_number = 9 then load_id end') }} as grade_nine_load_ids,
        {{ sorted_list('case when grade_number = 1 then load_id end') }} as grade_one_load_ids,
        {{ sorted_list('case when grade_number > 1 then load_id end') }} as later_grade_load_ids,
        {{ sorted_list('load_id') }} as all_load_ids
    from cohort_cell
    group by county_code, evaluation_year
),

retention as (
    select
        'ret9_unadj' as variant,
        county_year.county_code,
        county_year.evaluation_year,
        case when county_year.has_enrollment then coalesce(cohort.grade_nine_count, 0) end as numerator,
        case when county_year.has_first_grade_enrollment then coalesce(cohort.grade_one_count, 0) end as denominator,
        coalesce(cohort.grade_nine_load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(cohort.grade_one_load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_year
    left join cohort
        on county_year.county_code = cohort.county_code and county_year.evaluation_year = cohort.evaluation_year
    union all
    select
        'ret9_moe_adj' as variant,
        county_year.county_code,
        county_year.evaluation_year,
        case
            when county_year.has_cohort_enrollment
                then coalesce(cohort.grade_nine_count - cohort.transfer_in_count + cohort.transfer_out_count, 0)
        end as numerator,
        case
            when county_year.has_cohort_enrollment then coalesce(cohort.grade_one_count - cohort.death_count, 0)
        end as denominator,
        coalesce(cohort.later_grade_load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(cohort.all_load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_year
    left join cohort
        on county_year.county_code = cohort.county_code and county_year.evaluation_year = cohort.evaluation_year
),

-- G2a, G2b: the interim and the final goal read the same ratio
g2_goal as (
    select 'G2a' as indicator_code
    union all
    select 'G2b' as indicator_code
),

g2 as (
    select
        goal.indicator_code,
        retention.variant,
        retention.county_code,
        retention.evaluation_year,
        'all' as subgroup,
        'none' as basis,
        retention.numerator,
        retention.denominator,
        retention.numerator_load_ids,
        retention.denominator_load_ids
    from retention
    cross join g2_goal as goal
),

-- G3: children of the three types, by county of residence; enrolled where they are on any primary roll anywhere
three_types_child as (
    select
        disabled_child.county_code,
        disabled_child.reference_year,
        disabled_child.three_types_code,
        case when joinable_roll.person_token is not null then 1 else 0 end as is_enrolled,
        disabled_child.load_id as child_load_id,
        joinable_roll.load_id as roll_load_id
    from disabled_child
    left join joinable_roll
        on disabled_child.person_token = joinable_roll.person_token
        and disabled_child.reference_year = joinable_roll.school_start_year
        and disabled_child.token_basis = 'id_number'
    where
        disabled_child.three_types_code is not null
        and disabled_child.age_years
        between {{ var('disabled_school_age_from') }} and {{ var('disabled_school_age_to') }}
),

three_types_subgroup as (
    select 'all' as subgroup
    union all
    select disability_code as subgroup from disability where is_three_types
),

three_types_count as (
    select
        three_types_child.county_code,
        three_types_child.reference_year,
        three_types_subgroup.subgroup,
        sum(three_types_child.is_enrolled) as enrolled_count,
        count(*) as child_count,
        {{ sorted_list('case when three_types_child.is_enrolled = 1 then three_types_child.child_load_id end') }}
            as enrolled_load_ids,
        {{ sorted_list('three_types_child.roll_load_id') }} as roll_load_ids,
        {{ sorted_list('three_types_child.child_load_id') }} as child_load_ids
    from three_types_child
    inner join three_types_subgroup
        on three_types_subgroup.subgroup in ('all', three_types_child.three_types_code)
    group by three_types_child.county_code, three_types_child.reference_year, three_types_subgroup.subgroup
),

g3 as (
    select
        'G3' as indicator_code,
        'three_types' as variant,
        county_year.county_code,
        county_year.evaluation_year,
        three_types_subgroup.subgroup,
        'none' as basis,
        case
            when county_year.has_disabled_child and county_year.has_pupil
                then coalesce(three_types_count.enrolled_count, 0)
        end as numerator,
        case when county_year.has_disabled_child then coalesce(three_types_count.child_count, 0) end as denominator,
        {{ merged_list('three_types_count.enrolled_load_ids', 'three_types_count.roll_load_ids') }}
            as numerator_load_ids,
        coalesce(three_types_count.child_load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_year
    cross join three_types_subgroup
    left join three_types_count
        on county_year.county_code = three_types_count.county_code
        and county_year.evaluation_year = three_types_count.reference_year
        and three_types_subgroup.subgroup = three_types_count.subgroup
),

-- G4: by home county, because vocational and key upper-secondary schools sit in the cities
upper_secondary_pupil as (
    select
        home_county_code as county_code,
        school_start_year,
        count(*) as pupil_count,
        {{ sorted_list('load_id') }} as load_ids
    from pupil
    where is_primary_roll and stage_code in ('senior', 'vocational')
    group by home_county_code, school_start_year
),

youth as (
    select
        population.county_code,
        population_used.evaluation_year,
        population_used.population_basis,
        sum(population.person_count) as youth_count,
        {{ sorted_list('population.load_id') }} as load_ids
    from population
    inner join population_used
        on population.reference_year = population_used.evaluation_year
        and population.population_basis = population_used.population_basis
        and population.population_vintage = population_used.population_vintage
    where population.age_years between {{ var('upper_secondary_age_from') }} and {{ var('upper_secondary_age_to') }}
    group by population.county_code, population_used.evaluation_year, population_used.population_basis
),

g4 as (
    select
        'G4' as indicator_code,
        'ger_upper_secondary' as variant,
        county_year.county_code,
        county_year.evaluation_year,
        'all' as subgroup,
        population_used.population_basis as basis,
        case when county_year.has_pupil then coalesce(upper_secondary_pupil.pupil_count, 0) end as numerator,
        youth.youth_count as denominator,
        coalesce(upper_secondary_pupil.load_ids, {{ empty_list() }}) as numerator_load_ids,
        coalesce(youth.load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_year
    inner join population_used on county_year.evaluation_year = population_used.evaluation_year
    left join upper_secondary_pupil
        on county_year.county_code = upper_secondary_pupil.county_code
        and county_year.school_start_year = upper_secondary_pupil.school_start_year
    left join youth
        on county_year.county_code = youth.county_code
        and county_year.evaluation_year = youth.evaluation_year
        and population_used.population_basis = youth.population_basis
),

-- G14: registered-poor children of school age who are nobody on a roll, neither by their number nor by what else is
-- known of them, unless graduated, dead or abroad by 1 September
found_on_roll as (
    select
        poverty_year,
        poor_person_token
    from person_match
    where match_status = 'matched'
),

legitimate_exit as (
    select
        county_year.evaluation_year,
        event.person_token
    from event
    inner join (
        select distinct  -- one row per year: the frame has one per county and year
            evaluation_year,
            stock_snapshot_date
        from county_year
    ) as county_year
        on event.event_date <= county_year.stock_snapshot_date
    where event.is_legitimate_exit and event.approval_status = 'approved' and event.token_basis = 'id_number'
    group by county_year.evaluation_year, event.person_token
),

out_of_school_child as (
    select
        poor_person.county_code,
        poor_person.poverty_year,
        poor_person.out_of_school_reason,
        poor_person.load_id
    from poor_person
    left join found_on_roll
        on poor_person.person_token = found_on_roll.poor_person_token
        and poor_person.poverty_year = found_on_roll.poverty_year
    left join legitimate_exit
        on poor_person.person_token = legitimate_exit.person_token
        and poor_person.poverty_year = legitimate_exit.evaluation_year
        and poor_person.token_basis = 'id_number'
    where
        poor_person.age_years
        between {{ var('out_of_school_age_from') }} and {{ var('out_of_school_age_to') }}
        and found_on_roll.poor_person_token is null
        and legitimate_exit.person_token is null
),

out_of_school_variant as (
    select 'poverty_reason' as variant
    union all
    select 'all_reasons' as variant
),

out_of_school_count as (
    select
        out_of_school_variant.variant,
        out_of_school_child.county_code,
        out_of_school_child.poverty_year,
        count(*) as child_count,
        {{ sorted_list('out_of_school_child.load_id') }} as load_ids
    from out_of_school_child
    inner join out_of_school_variant
        on out_of_school_variant.variant = 'all_reasons'
        or out_of_school_child.out_of_school_reason = 'poverty'
    group by out_of_school_variant.variant, out_of_school_child.county_code, out_of_school_child.poverty_year
),

g14 as (
    select
        'G14' as indicator_code,
        out_of_school_variant.variant,
        county_year.county_code,
        county_year.evaluation_year,
        'all' as subgroup,
        'none' as basis,
        case
            when county_year.has_poor_person and county_year.has_pupil
                then coalesce(out_of_school_count.child_count, 0)
        end as numerator,
        cast(null as numeric(38, 0)) as denominator,
        coalesce(out_of_school_count.load_ids, {{ empty_list() }}) as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from county_year
    cross join out_of_school_variant
    left join out_of_school_count
        on county_year.county_code = out_of_school_count.county_code
        and county_year.evaluation_year = out_of_school_count.poverty_year
        and out_of_school_variant.variant = out_of_school_count.variant
),

together as (
    select * from g1
    union all
    select * from g2
    union all
    select * from g3
    union all
    select * from g4
    union all
    select * from g14
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
