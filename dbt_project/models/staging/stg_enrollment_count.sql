-- grain: one row per school year × county × school × stage × grade × sex (statistics form), as now known
with

record as (select * from {{ source('landing', 'enrollment_count') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        school_year,
        cast(substr(school_year, 1, 4) as integer) as school_start_year,
        county_code,
        school_code,
        school_name,
        stage as stage_code,
        grade as grade_code,
        sex as sex_code,
        enrollment_count,
        entrant_count,
        graduate_count,
        boarder_count,
        transfer_in_count,
        transfer_out_count,
        death_count,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
