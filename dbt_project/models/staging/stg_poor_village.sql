-- grain: one row per poverty year × administrative village, as now known
with

record as (select * from {{ source('landing', 'poor_village') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        poverty_year,
        village_code,
        village_name,
        is_poor_village,
        exit_year,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
