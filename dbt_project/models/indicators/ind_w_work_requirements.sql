-- grain: one row per indicator × variant × county × evaluation year × subgroup × basis (work requirements, W)
with

county_year as (select * from {{ ref('int_county_year') }}),
coverage as (select * from {{ ref('int_feed_coverage') }}),
poor_person as (select * from {{ ref('fct_poverty_person') }}),
school_status as (select * from {{ ref('poverty_school_statuses') }}),
person_match as (select * from {{ ref('bridge_person_match') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
integrity_flag as (select * from {{ ref('fct_integrity_flag') }}),

-- W4: persons whom the list calls pupils, and those of them whom the register describes
status_of_no_pupil as (
    select distinct school_status  -- one row per status: the seed has one per age
    from school_status
    where not is_pupil
),

described_pupil as (
    select
        school_start_year,
        person_token,
        load_id
    from pupil
    where
        is_primary_roll
        and sex_code is not null
        and age_years is not null
        and home_county_code is not null
        and student_number_token is not null
),

listed_pupil as (
    select
        poor_person.county_code,
        poor_person.poverty_year,
        case when described_pupil.person_token is not null then 1 else 0 end as is_described,
        poor_person.load_id as list_load_id,
        described_pupil.load_id as roll_load_id
    from poor_person
    left join status_of_no_pupil on poor_person.school_status = status_of_no_pupil.school_status
    left join person_match
        on poor_person.person_token = person_match.poor_person_token
        and poor_person.poverty_year = person_match.poverty_year
        and person_match.match_status = 'matched'
    left join described_pupil
        on person_match.pupil_person_token = described_pupil.person_token
        and person_match.poverty_year = described_pupil.school_start_year
    where
        poor_person.age_years between {{ var('aided_age_from') }} and {{ var('aided_age_to') }}
        and poor_person.school_status is not null
        and status_of_no_pupil.school_status is null
),

listed_pupil_count as (
    select
        county_code,
        poverty_year,
        sum(is_described) as described_count,
        count(*) as person_count,
        {{ sorted_list('case when is_described = 1 then list_load_id end') }} as described_load_ids,
        {{ sorted_list('roll_load_id') }} as roll_load_ids,
        {{ sorted_list('list_load_id') }} as list_load_ids
    from listed_pupil
    group by county_code, poverty_year
),

w4 as (
    select
        'W4' as indicator_code,
        'poor_pupil_file' as variant,
        county_year.county_code,
        county_year.evaluation_year,
        case
            when county_year.has_poor_person and county_year.has_pupil
                then coalesce(listed_pupil_count.described_count, 0)
        end as numerator,
        case when county_year.has_poor_person then coalesce(listed_pupil_count.person_count, 0) end as denominator,
        {{ merged_list('listed_pupil_count.described_load_ids', 'listed_pupil_count.roll_load_ids') }}
            as numerator_load_ids,
        coalesce(listed_pupil_count.list_load_ids, {{ empty_list() }}) as denominator_load_ids
    from county_year
    left join listed_pupil_count
        on county_year.county_code = listed_pupil_count.county_code
        and county_year.evaluation_year = listed_pupil_count.poverty_year
),

-- W9: leads of the county that has to act. Without registers, lists or payments most rules are blind: then not known
payment_year as (
    select distinct coverage_year  -- one row per year: coverage has one per county
    from coverage
    where feed = 'aid_payment'
),

lead_variant as (
    select 'leads' as variant
    union all
    select 'leads_open' as variant
    union all
    select 'amount_at_risk' as variant
),

counted_lead as (
    select
        lead_variant.variant,
        integrity_flag.county_code,
        integrity_flag.evaluation_year,
        case
            when lead_variant.variant = 'amount_at_risk' then coalesce(integrity_flag.amount_at_risk_yuan, 0)
            else 1
        end as quantity,
        integrity_flag.load_ids
    from integrity_flag
    cross join lead_variant
    where lead_variant.variant <> 'leads_open' or integrity_flag.review_status not in ('handled', 'dismissed')
),

lead_count as (
    select
        variant,
        county_code,
        evaluation_year,
        round(sum(quantity)) as quantity
    from counted_lead
    group by variant, county_code, evaluation_year
),

lead_load as (
    select
        counted_lead.variant,
        counted_lead.county_code,
        counted_lead.evaluation_year,
        {{ sorted_list('item.load_id') }} as load_ids
    from counted_lead
    {{ each_of('counted_lead.load_ids', 'item') }}
    where counted_lead.quantity > 0
    group by counted_lead.variant, counted_lead.county_code, counted_lead.evaluation_year
),

w9 as (
    select
        'W9' as indicator_code,
        lead_variant.variant,
        county_year.county_code,
        county_year.evaluation_year,
        case
            when
                county_year.has_pupil and county_year.has_poor_person and payment_year.coverage_year is not null
                then coalesce(lead_count.quantity, 0)
        end as numerator,
        cast(null as numeric(38, 0)) as denominator,
        coalesce(lead_load.load_ids, {{ empty_list() }}) as numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from county_year
    cross join lead_variant
    left join payment_year on county_year.evaluation_year = payment_year.coverage_year
    left join lead_count
        on lead_variant.variant = lead_count.variant
        and county_year.county_code = lead_count.county_code
        and county_year.evaluation_year = lead_count.evaluation_year
    left join lead_load
        on lead_variant.variant = lead_load.variant
        and county_year.county_code = lead_load.county_code
        and county_year.evaluation_year = lead_load.evaluation_year
),

together as (
    select * from w4
    union all
    select * from w9
),

final as (
    select
        indicator_code,
        variant,
        county_code as area_code,
        evaluation_year,
        'all' as subgroup,
        'none' as basis,
        cast(numerator as numeric(38, 0)) as numerator,
        cast(denominator as numeric(38, 0)) as denominator,
        numerator_load_ids,
        denominator_load_ids
    from together
)

select * from final
