-- grain: one row per reference year × population basis × vintage × county × age × sex
with

population as (select * from {{ ref('stg_population_age') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

final as (
    select
        {{ surrogate_key([
            'population.reference_year', 'population.population_basis', 'population.population_vintage',
            'population.county_code', 'population.age_years', 'population.sex_code'
        ]) }} as population_age_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        population.reference_year,
        population.reference_date,
        population.population_basis,
        population.population_vintage,
        coalesce(area.current_county_code, population.county_code) as county_code,
        population.age_years,
        population.sex_code,
        population.person_count,
        population.load_id
    from population
    left join area on population.county_code = area.from_area_code
)

select * from final
