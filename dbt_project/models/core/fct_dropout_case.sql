-- grain: one row per county × case number (accumulating: the latest yearly ledger that holds the case speaks)
with

ledger as (select * from {{ ref('stg_dropout_case') }}),
student_identifier as (select * from {{ ref('bridge_student_identifier') }}),
person as (select * from {{ ref('dim_person') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

latest_identifier as (select * from student_identifier where is_latest_person),

last_ledger as (
    select
        county_code,
        max(ledger_year) as last_ledger_year
    from ledger
    group by county_code
),

ranked as (
    select
        ledger.*,
        min(ledger_year) over (partition by county_code, case_number) as first_ledger_year,
        row_number() over (partition by county_code, case_number order by ledger_year desc) as recency
    from ledger
),

-- a child without an ID number is known by its student number, where it has one
identified as (
    select
        ranked.*,
        {{ resolved_person('ranked') }}
    from ranked
    left join latest_identifier on ranked.student_number_token = latest_identifier.student_number_token
    where ranked.recency = 1
),

final as (
    select
        {{ surrogate_key(['identified.county_code', 'identified.case_number']) }} as dropout_case_key,
        coalesce(person.person_key, {{ unknown_key() }}) as person_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        coalesce(area.current_county_code, identified.county_code) as county_code,
        identified.county_code as reported_county_code,
        identified.case_number,
        identified.first_ledger_year,
        identified.ledger_year,
        identified.resolved_person_token as person_token,
        identified.resolved_token_basis as token_basis,
        identified.student_number_token,
        identified.last_school_code,
        identified.last_grade as last_grade_code,
        identified.reason as out_of_school_reason,
        identified.found_on as found_date,
        identified.verified_on as verified_date,
        identified.persuaded_on as persuaded_date,
        identified.returned_on as returned_date,
        identified.closed_on as closed_date,
        identified.closing_kind,
        case
            when identified.closed_on is not null then 'closed'
            when identified.returned_on is not null then 'returned'
            when identified.persuaded_on is not null then 'persuaded'
            when identified.verified_on is not null then 'verified'
            else 'found'
        end as handling_stage,
        identified.closed_on is null as is_open,
        -- an open case has to stand in the next ledger too
        identified.closed_on is null and identified.ledger_year < last_ledger.last_ledger_year as is_lost_from_ledger,
        {{ days_between('identified.found_on', 'identified.verified_on') }} as days_to_verify,
        {{ days_between('identified.verified_on', 'identified.persuaded_on') }} as days_to_persuade,
        {{ days_between('identified.found_on', 'identified.returned_on') }} as days_to_return,
        {{ days_between('identified.found_on', 'identified.closed_on') }} as days_to_close,
        identified.persuasion_count,
        identified.home_teaching_visit_count,
        identified.load_id
    from identified
    inner join last_ledger on identified.county_code = last_ledger.county_code
    left join person on identified.resolved_person_token = person.person_token
    left join area on identified.county_code = area.from_area_code
)

select * from final
