-- grain: one row per year of the register and document, as now known
with

record as (select * from {{ source('landing', 'policy_document') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        document_year,
        document_id,
        document_number,
        title,
        issuer_level,
        area_code,
        document_type,
        stage,
        entitlement_code,
        issued_on,
        effective_from,
        effective_to,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
