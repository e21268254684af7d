-- grain: one row per evaluation year × population basis; which vintage of the population is the denominator
with

evaluation_year as (select * from {{ ref('dim_evaluation_year') }}),

final as (
    select
        evaluation_year_key,
        evaluation_year,
        'resident' as population_basis,
        population_vintage_resident as population_vintage
    from evaluation_year
    union all
    select
        evaluation_year_key,
        evaluation_year,
        'registered' as population_basis,
        population_vintage_registered as population_vintage
    from evaluation_year
)

select * from final
