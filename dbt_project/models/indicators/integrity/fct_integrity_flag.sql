-- grain: one row per rule × case: a lead that somebody has to look at, never a finding
with

payment as (select * from {{ ref('int_integrity_payment') }}),
payment_check as (select * from {{ ref('int_integrity_payment_check') }}),
register as (select * from {{ ref('int_integrity_register') }}),
nutrition as (select * from {{ ref('int_integrity_nutrition') }}),
money as (select * from {{ ref('int_integrity_money') }}),
poverty_list as (select * from {{ ref('int_integrity_poverty_list') }}),
rule as (select * from {{ ref('integrity_rules') }}),
review as (select * from {{ ref('stg_integrity_review') }}),

together as (
    select * from payment
    union all
    select * from payment_check
    union all
    select * from register
    union all
    select * from nutrition
    union all
    select * from money
    union all
    select * from poverty_list
),

-- a case keeps its number while it is the same case; its evidence code changes with what speaks for it
numbered as (
    select
        together.*,
        upper(substr({{ surrogate_key(['together.rule_code', 'together.case_key']) }}, 1, 16)) as case_number,
        upper(substr({{ surrogate_key(['together.rule_code', 'together.evidence_text']) }}, 1, 16)) as evidence_code
    from together
    inner join rule on together.rule_code = rule.rule_code and rule.is_measurable
),

-- the last word of the county that has to act
ranked_review as (
    select
        review.*,
        row_number() over (
            partition by county_code, rule_code, case_number
            order by reviewed_on desc, review_year desc, load_id desc
        ) as recency
    from review
),

latest_review as (select * from ranked_review where recency = 1),

-- a review holds for the evidence that it looked at; a dismissal needs a reason
reviewed as (
    select
        numbered.*,
        latest_review.outcome as review_outcome,
        latest_review.reason,
        latest_review.reviewed_on as reviewed_date,
        latest_review.handled_on as handled_date,
        latest_review.recovered_yuan,
        latest_review.load_id as review_load_id,
        case
            when latest_review.case_number is null then 'open'
            when latest_review.evidence_code <> numbered.evidence_code then 'reopened'
            when latest_review.outcome = 'false_positive' and latest_review.reason is not null then 'dismissed'
            when latest_review.outcome = 'false_positive' then 'open'
            when latest_review.handled_on is not null then 'handled'
            else 'verified'
        end as review_status
    from numbered
    left join latest_review
        on numbered.county_code = latest_review.county_code
        and numbered.rule_code = latest_review.rule_code
        and numbered.case_number = latest_review.case_number
),

final as (
    select
        {{ surrogate_key(['rule_code', 'case_key']) }} as integrity_flag_key,
        rule_code,
        case_number,
        evidence_code,
        case_kind,
        evaluation_year,
        county_code,
        home_county_code,
        person_token,
        school_code,
        entitlement_code,
        semester_code,
        document_number,
        since_date,
        amount_at_risk_yuan,
        description_zh,
        description_en,
        review_status,
        review_status = 'dismissed' as is_dismissed,
        case when review_status in ('dismissed', 'verified', 'handled') then review_outcome end as review_outcome,
        case when review_status in ('dismissed', 'verified', 'handled') then reason end as review_reason,
        case when review_status in ('dismissed', 'verified', 'handled') then reviewed_date end as reviewed_date,
        case when review_status = 'handled' then handled_date end as handled_date,
        -- what was recovered stays recovered, whatever the evidence says now
        cast(recovered_yuan as numeric(14, 2)) as recovered_yuan,
        load_ids,
        {{ one_load('review_load_id') }} as review_load_ids
    from reviewed
)

select * from final
