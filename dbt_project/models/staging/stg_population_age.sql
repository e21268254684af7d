-- grain: one row per year × basis × vintage × county × age × sex, as now known
with

record as (select * from {{ source('landing', 'population_age') }}),

-- a version that a later load ended is history; what is now known is open
final as (
    select
        reference_year,
        reference_date,
        area_code as county_code,
        age as age_years,
        sex as sex_code,
        population_basis,
        population_vintage,
        person_count,
        record_key,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
