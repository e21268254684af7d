-- grain: one row per year, county and case, as now known
with

record as (select * from {{ source('landing', 'match_review') }}),

-- a version that a later load ended is history; what is now known is open. A row without an outcome is a worklist that
-- came back before anybody had looked into the case
final as (
    select
        review_year,
        county_code,
        case_number,
        outcome,
        reason,
        reviewed_on,
        record_key,
        load_id
    from record
    where {{ known_versions() }} and outcome is not null
)

select * from final
