-- grain: one row per evaluation year; the single place that says what a year means
with

evaluation_year as (select * from {{ ref('evaluation_years') }}),

final as (
    select
        {{ surrogate_key(['evaluation_year']) }} as evaluation_year_key,
        evaluation_year,
        is_baseline,
        school_year,
        cast(substr(school_year, 1, 4) as integer) as school_start_year,
        stock_snapshot_date,
        poverty_snapshot_date,
        fiscal_year,
        population_vintage_resident,
        population_vintage_registered
    from evaluation_year
)

select * from final
