-- grain: one row per integrity rule × county × evaluation year: leads by what became of them, and the money
with

flag as (select * from {{ ref('fct_integrity_flag') }}),
rule as (select * from {{ ref('integrity_rules') }}),
county_year as (select * from {{ ref('int_county_year') }}),
coverage as (select * from {{ ref('int_feed_coverage') }}),

-- the feeds of a rule as one text, so that a feed is found in it between two semicolons
needed as (
    select
        rule_code,
        is_measurable,
        ';' || coalesce(needs_feeds || ';', '') || coalesce(needs_region_feeds || ';', '') as feeds
    from rule
),

covered as (
    select
        needed.rule_code,
        coverage.county_code,
        coverage.coverage_year,
        count(distinct coverage.feed) as feed_count
    from needed
    inner join coverage on needed.feeds like '%;' || coverage.feed || ';%'
    group by needed.rule_code, coverage.county_code, coverage.coverage_year
),

frame as (
    select
        needed.rule_code,
        county_year.county_code,
        county_year.evaluation_year,
        needed.is_measurable
        and coalesce(covered.feed_count, 0) = length(needed.feeds) - length(replace(needed.feeds, ';', '')) - 1
            as is_measurable
    from needed
    cross join county_year
    left join covered
        on needed.rule_code = covered.rule_code
        and county_year.county_code = covered.county_code
        and county_year.evaluation_year = covered.coverage_year
),

counted as (
    select
        rule_code,
        county_code,
        evaluation_year,
        sum(case when review_status in ('open', 'reopened') then 1 else 0 end) as open_count,
        sum(case when review_status = 'verified' then 1 else 0 end) as verified_count,
        sum(case when review_status = 'handled' then 1 else 0 end) as handled_count,
        sum(case when review_status = 'dismissed' then 1 else 0 end) as false_positive_count,
        sum(case when is_dismissed then 0 else amount_at_risk_yuan end) as amount_at_risk_yuan,
        sum(recovered_yuan) as recovered_yuan
    from flag
    group by rule_code, county_code, evaluation_year
),

final as (
    select
        {{ surrogate_key(['frame.rule_code', 'frame.county_code', 'frame.evaluation_year']) }}
            as funds_integrity_county_key,
        frame.rule_code,
        frame.county_code,
        frame.evaluation_year,
        frame.is_measurable,
        cast(case when frame.is_measurable then coalesce(counted.open_count, 0) end as bigint) as open_count,
        cast(case when frame.is_measurable then coalesce(counted.verified_count, 0) end as bigint) as verified_count,
        cast(case when frame.is_measurable then coalesce(counted.handled_count, 0) end as bigint) as handled_count,
        cast(case when frame.is_measurable then coalesce(counted.false_positive_count, 0) end as bigint)
            as false_positive_count,
        cast(case when frame.is_measurable then coalesce(counted.amount_at_risk_yuan, 0) end as numeric(20, 2))
            as amount_at_risk_yuan,
        cast(case when frame.is_measurable then coalesce(counted.recovered_yuan, 0) end as numeric(20, 2))
            as recovered_yuan
    from frame
    left join counted
        on frame.rule_code = counted.rule_code
        and frame.county_code = counted.county_code
        and frame.evaluation_year = counted.evaluation_year
)

select * from final
