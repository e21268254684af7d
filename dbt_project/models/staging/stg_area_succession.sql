-- grain: one row per old code × new code × day of change, as now known
with

record as (select * from {{ source('landing', 'area_succession') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        from_area_code,
        to_area_code,
        change_type,
        change_date,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
