-- grain: one row per case of the rules on what a person was paid, or not (I01-I05)
with

paid as (select * from {{ ref('int_valid_payment') }}),
aid_status as (select * from {{ ref('int_aid_status') }}),
semester as (select * from {{ ref('dim_semester') }}),
entitlement as (select * from {{ ref('dim_entitlement') }}),
recognition as (select * from {{ ref('fct_aid_recognition') }}),
pupil as (select * from {{ ref('fct_enrollment_pupil') }}),
event as (select * from {{ ref('fct_student_event') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
person_pair as (select * from {{ ref('stg_person_pair') }}),
county_semester as (select * from {{ ref('int_county_semester') }}),

latest_first as (
    select
        paid.*,
        row_number() over (
            partition by person_token, entitlement_code, semester_code
            order by paid_date desc, county_code desc, payment_number desc
        ) as recency
    from paid
),

-- what a person got of one entitlement in one semester; the county that paid last has to act
item as (
    select
        person_token,
        entitlement_code,
        semester_code,
        min(aid_year) as evaluation_year,
        min(poverty_year) as poverty_year,
        min(entitlement_zh) as entitlement_zh,
        min(entitlement_en) as entitlement_en,
        max(case when recency = 1 then county_code end) as county_code,
        max(case when recency = 1 then school_code end) as school_code,
        count(*) as payment_count,
        sum(amount_yuan) as paid_yuan,
        max(amount_yuan) as largest_yuan,
        min(paid_date) as first_paid_date,
        max(paid_date) as last_paid_date,
        {{ sorted_text("county_code || ':' || payment_number || ':' || cast(amount_yuan as varchar(20))") }}
            as payments,
        {{ sorted_list('load_id') }} as load_ids
    from latest_first
    group by person_token, entitlement_code, semester_code
),

paid_twice as (
    select
        'I01' as rule_code,
        'paid_twice' as case_kind,
        item.*,
        item.payments as evidence_text,
        item.last_paid_date as since_date,
        item.paid_yuan - item.largest_yuan as amount_at_risk_yuan,
        item.entitlement_zh || '：本学期发放 ' || {{ as_text('item.payment_count') }} || ' 笔，合计 '
        || {{ as_text('item.paid_yuan') }} || ' 元' as description_zh,
        item.entitlement_en || ': ' || {{ as_text('item.payment_count') }} || ' payments in the semester, '
        || {{ as_text('item.paid_yuan') }} || ' yuan' as description_en
    from item
    where item.payment_count > {{ threshold('I01', 'max_payments') }}
),

approved as (select * from event where approval_status = 'approved'),

death as (
    select
        person_token,
        min(event_date) as death_date
    from approved
    where event_type = 'death'
    group by person_token
),

arrival as (
    select
        person_token,
        event_date
    from approved
    where event_type in ('transfer_in', 'resumption')
),

-- leaving for another school of the region is no leaving
departure as (
    select
        person_token,
        event_date
    from approved
    where
        event_type in ('withdrawal', 'graduation', 'emigration')
        or (event_type = 'transfer_out' and to_school_code is null)
),

paid_after_death as (
    select
        latest_first.person_token,
        latest_first.entitlement_code,
        latest_first.semester_code,
        sum(latest_first.amount_yuan) as late_yuan,
        min(latest_first.paid_date) as late_date,
        count(*) as late_count
    from latest_first
    inner join death
        on latest_first.person_token = death.person_token and latest_first.paid_date > death.death_date
    group by latest_first.person_token, latest_first.entitlement_code, latest_first.semester_code
),

after_death as (
    select
        'I03' as rule_code,
        'after_death' as case_kind,
        item.*,
        {{ evidence(['item.payments', 'paid_after_death.late_count']) }} as evidence_text,
        paid_after_death.late_date as since_date,
        paid_after_death.late_yuan as amount_at_risk_yuan,
        item.entitlement_zh || '：死亡异动审核后仍发放 ' || {{ as_text('paid_after_death.late_count') }} || ' 笔'
            as description_zh,
        item.entitlement_en || ': payments dated after the death that the register records: '
        || {{ as_text('paid_after_death.late_count') }} as description_en
    from item
    inner join paid_after_death
        on item.person_token = paid_after_death.person_token
        and item.entitlement_code = paid_after_death.entitlement_code
        and item.semester_code = paid_after_death.semester_code
),

on_roll as (
    select distinct  -- a pupil on several rolls is on the roll
        person_token,
        school_start_year
    from pupil
),

-- registers that are there for some counties only
partly_registered as (
    select semester_code
    from county_semester
    group by semester_code
    having max(case when has_pupil then 1 else 0 end) > min(case when has_pupil then 1 else 0 end)
),

-- whom another year's register has in a county that sent none for the semester
on_unknown_roll as (
    select distinct  -- one such county is enough
        pupil.person_token,
        county_semester.semester_code
    from partly_registered
    inner join county_semester on partly_registered.semester_code = county_semester.semester_code
    inner join pupil on county_semester.county_code = pupil.county_code
    where not county_semester.has_pupil
),

-- colleges have no register here; of a dead pupil the rule on deaths speaks
schooled as (
    select latest_first.*
    from latest_first
    left join paid_after_death
        on latest_first.person_token = paid_after_death.person_token
        and latest_first.entitlement_code = paid_after_death.entitlement_code
        and latest_first.semester_code = paid_after_death.semester_code
    where latest_first.entitlement_stage <> 'higher' and paid_after_death.person_token is null
),

last_arrival as (
    select
        schooled.aid_payment_key,
        max(arrival.event_date) as arrival_date
    from schooled
    inner join arrival
        on schooled.person_token = arrival.person_token
        and schooled.snapshot_date < arrival.event_date
        and schooled.paid_date >= arrival.event_date
    group by schooled.aid_payment_key
),

last_departure as (
    select
        schooled.aid_payment_key,
        max(departure.event_date) as departure_date
    from schooled
    inner join departure
        on schooled.person_token = departure.person_token
        and schooled.snapshot_date < departure.event_date
        and schooled.cut_off_date > departure.event_date
        and schooled.paid_date > departure.event_date
    group by schooled.aid_payment_key
),

not_there as (
    select
        schooled.person_token,
        schooled.entitlement_code,
        schooled.semester_code,
        sum(schooled.amount_yuan) as absent_yuan,
        min(schooled.paid_date) as absent_date,
        min(case when on_roll.person_token is null then 'not_on_roll' else 'after_leaving' end) as case_kind
    from schooled
    left join on_roll
        on schooled.person_token = on_roll.person_token and schooled.school_start_year = on_roll.school_start_year
    left join last_arrival on schooled.aid_payment_key = last_arrival.aid_payment_key
    left join last_departure on schooled.aid_payment_key = last_departure.aid_payment_key
    left join county_semester
        on schooled.county_code = county_semester.county_code and schooled.semester_code = county_semester.semester_code
    left join on_unknown_roll
        on schooled.person_token = on_unknown_roll.person_token
        and schooled.semester_code = on_unknown_roll.semester_code
    where
        -- without the county's register nobody is off it
        (
            county_semester.has_pupil
            and on_unknown_roll.person_token is null
            and on_roll.person_token is null
            and last_arrival.arrival_date is null
        )
        or (
            last_departure.departure_date is not null
            and coalesce(last_arrival.arrival_date < last_departure.departure_date, true)
        )
    group by schooled.person_token, schooled.entitlement_code, schooled.semester_code
),

off_roll as (
    select
        'I02' as rule_code,
        not_there.case_kind,
        item.*,
        {{ evidence(['item.payments', 'not_there.case_kind']) }} as evidence_text,
        not_there.absent_date as since_date,
        not_there.absent_yuan as amount_at_risk_yuan,
        item.entitlement_zh
        || case not_there.case_kind when 'not_on_roll' then '：发放时不在任何学校的学籍' else '：离校异动审核后仍发放' end
            as description_zh,
        item.entitlement_en || case not_there.case_kind
            when 'not_on_roll' then ': paid while on the roll of no school'
            else ': paid after the register records that the pupil left'
        end as description_en
    from item
    inner join not_there
        on item.person_token = not_there.person_token
        and item.entitlement_code = not_there.entitlement_code
        and item.semester_code = not_there.semester_code
),

broadly_recognized as (
    select distinct  -- recognized by two schools is recognized
        person_token,
        semester_code
    from recognition
    where is_national_broad
),

-- who may be a person of the list, until the county has looked, is not called wrong
held_for_review as (
    select distinct  -- one possible person is enough
        poverty_year,
        pupil_person_token
    from person_pair
    where match_status in ('matched', 'review')
),

-- an exited household is still on the list of the year, so it never comes here; without the list, or without the
-- recognitions, nobody is off them
not_poor as (
    select
        'I04' as rule_code,
        'not_poor' as case_kind,
        item.*,
        item.payments as evidence_text,
        item.first_paid_date as since_date,
        item.paid_yuan as amount_at_risk_yuan,
        item.entitlement_zh || '：按建档立卡发放，当年名单和学期认定中都没有' as description_zh,
        item.entitlement_en || ': paid as registered poor, on neither the list of the year nor the recognition'
            as description_en
    from item
    inner join aid_status
        on item.person_token = aid_status.person_token
        and item.entitlement_code = aid_status.entitlement_code
        and item.semester_code = aid_status.semester_code
        and aid_status.status = 'not_expected'
        and not aid_status.is_registered_poor
    inner join county_semester
        on item.county_code = county_semester.county_code
        and item.semester_code = county_semester.semester_code
        and county_semester.has_poor_person
        and county_semester.has_aid_recognition
    inner join entitlement on aid_status.entitlement_key = entitlement.entitlement_key
    left join broadly_recognized
        on item.person_token = broadly_recognized.person_token
        and item.semester_code = broadly_recognized.semester_code
    left join held_for_review
        on item.poverty_year = held_for_review.poverty_year
        and item.person_token = held_for_review.pupil_person_token
    left join not_there
        on item.person_token = not_there.person_token
        and item.entitlement_code = not_there.entitlement_code
        and item.semester_code = not_there.semester_code
    left join paid_after_death
        on item.person_token = paid_after_death.person_token
        and item.entitlement_code = paid_after_death.entitlement_code
        and item.semester_code = paid_after_death.semester_code
    where
        entitlement.beneficiary in ('registered_poor', 'registered_poor_boarder')
        and broadly_recognized.person_token is null
        and held_for_review.pupil_person_token is null
        and not_there.person_token is null
        and paid_after_death.person_token is null
),

by_item as (
    select * from paid_twice
    union all
    select * from after_death
    union all
    select * from off_roll
    union all
    select * from not_poor
),

item_case as (
    select
        by_item.rule_code,
        by_item.case_kind,
        {{ evidence(['by_item.person_token', 'by_item.entitlement_code', 'by_item.semester_code']) }} as case_key,
        by_item.evidence_text,
        by_item.evaluation_year,
        by_item.county_code,
        aid_status.home_county_code,
        by_item.person_token,
        by_item.school_code,
        by_item.entitlement_code,
        by_item.semester_code,
        by_item.since_date,
        by_item.amount_at_risk_yuan,
        by_item.description_zh,
        by_item.description_en,
        by_item.load_ids
    from by_item
    left join aid_status
        on by_item.person_token = aid_status.person_token
        and by_item.entitlement_code = aid_status.entitlement_code
        and by_item.semester_code = aid_status.semester_code
),

-- I05: due and not paid; who died or left before the cut-off is owed nothing, and without the county's payments
-- nobody is known to be unpaid
gone as (
    select missing.aid_status_key
    from aid_status as missing
    inner join semester on missing.semester_key = semester.semester_key
    inner join school_year on semester.school_start_year = school_year.school_start_year
    left join death
        on missing.person_token = death.person_token and semester.cut_off_date > death.death_date
    left join departure
        on missing.person_token = departure.person_token
        and school_year.snapshot_date < departure.event_date
        and semester.cut_off_date > departure.event_date
    left join arrival
        on missing.person_token = arrival.person_token
        and departure.event_date <= arrival.event_date
        and semester.cut_off_date >= arrival.event_date
    where
        missing.status = 'missing'
        and (death.person_token is not null or (departure.person_token is not null and arrival.person_token is null))
    group by missing.aid_status_key
),

not_paid as (
    select
        'I05' as rule_code,
        'not_paid' as case_kind,
        {{ evidence(['aid_status.person_token', 'aid_status.entitlement_code', 'aid_status.semester_code']) }}
            as case_key,
        {{ evidence(['aid_status.standard_yuan', 'aid_status.school_code', 'aid_status.grade_code']) }}
            as evidence_text,
        aid_status.evaluation_year,
        aid_status.school_county_code as county_code,
        aid_status.home_county_code,
        aid_status.person_token,
        aid_status.school_code,
        aid_status.entitlement_code,
        aid_status.semester_code,
        semester.cut_off_date as since_date,
        aid_status.standard_yuan as amount_at_risk_yuan,
        entitlement.name_zh || case
            when aid_status.is_matched then '：符合条件，本学期没有发放记录'
            else '：建档立卡学生，未比对到学籍，没有发放记录'
        end as description_zh,
        entitlement.name_en || case
            when aid_status.is_matched then ': due, no payment in the semester'
            else ': registered poor, on no roll that was found, no payment'
        end as description_en,
        {{ merged_list(
            merged_list(one_load('aid_status.poverty_load_id'), one_load('aid_status.roll_load_id')),
            one_load('aid_status.recognition_load_id')
        ) }} as load_ids
    from aid_status
    inner join semester on aid_status.semester_key = semester.semester_key
    inner join entitlement on aid_status.entitlement_key = entitlement.entitlement_key
    inner join county_semester
        on coalesce(aid_status.school_county_code, aid_status.home_county_code) = county_semester.county_code
        and aid_status.semester_code = county_semester.semester_code
        and county_semester.has_aid_payment
    left join gone on aid_status.aid_status_key = gone.aid_status_key
    where aid_status.status = 'missing' and aid_status.is_due_plan_strict and gone.aid_status_key is null
),

together as (
    select * from item_case
    union all
    select * from not_paid
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
        entitlement_code,
        semester_code,
        cast(null as {{ dbt.type_string() }}) as document_number,
        since_date,
        cast(amount_at_risk_yuan as numeric(14, 2)) as amount_at_risk_yuan,
        description_zh,
        description_en,
        load_ids
    from together
)

select * from final
