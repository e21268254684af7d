-- grain: one row per year, county and case, as now known
with

record as (select * from {{ source('landing', 'integrity_review') }}),

-- a version that a later load ended is history; what is now known is open. A row without an outcome is a worklist that
-- came back before anybody had looked into the case
final as (
    select
        review_year,
        county_code,
        case_number,
        rule_code,
        evidence_code,
        outcome,
        reason,
        reviewed_on,
        handled_on,
        cast(recovered_yuan as numeric(18, 2)) as recovered_yuan,
        record_key,
        load_id
    from record
    where {{ known_versions() }} and outcome is not null
)

select * from final
