-- grain: one row per school year (1 September to 31 August)
with

school_year as (select * from {{ ref('school_years') }}),

final as (
    select
        {{ surrogate_key(['school_year']) }} as school_year_key,
        school_year,
        start_year as school_start_year,
        start_date,
        end_date,
        snapshot_date
    from school_year
)

select * from final
