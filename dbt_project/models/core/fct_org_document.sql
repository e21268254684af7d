-- grain: one row per document year × document (policies, schemes, agreements and networks of any level)
with

document as (select * from {{ ref('stg_policy_document') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

final as (
    select
        {{ surrogate_key(['document.document_year', 'document.document_id']) }} as org_document_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        document.document_year,
        document.document_id,
        document.document_number,
        document.title,
        document.issuer_level,
        coalesce(area.current_area_code, document.area_code) as area_code,
        document.document_type,
        document.stage as fund_stage,
        document.entitlement_code,
        document.issued_on as issued_date,
        document.effective_from as effective_from_date,
        document.effective_to as effective_to_date,
        document.load_id
    from document
    left join area on document.area_code = area.from_area_code
)

select * from final
