-- grain: one row per indicator × variant × county × evaluation year × subgroup × basis (context frames, C)
with

county_year as (select * from {{ ref('int_county_year') }}),
poor_person as (select * from {{ ref('fct_poverty_person') }}),

-- C1: people lifted out of registered poverty since the plan began, and people still in it, at year end
lifted_out as (
    select
        poverty_year,
        county_code,
        count(distinct person_number) as person_count,
        {{ sorted_list('load_id') }} as load_ids
    from poor_person
    where is_exited and exit_year between {{ var('poverty_exit_year_from') }} and poverty_year
    group by poverty_year, county_code
),

still_poor as (
    select
        poverty_year,
        county_code,
        count(distinct person_number) as person_count,
        {{ sorted_list('load_id') }} as load_ids
    from poor_person
    where not is_exited
    group by poverty_year, county_code
),

c1 as (
    select
        'exited' as variant,
        county_year.county_code,
        county_year.evaluation_year,
        case when county_year.has_poor_person then coalesce(lifted_out.person_count, 0) end as numerator,
        coalesce(lifted_out.load_ids, {{ empty_list() }}) as numerator_load_ids
    from county_year
    left join lifted_out
        on county_year.county_code = lifted_out.county_code
        and county_year.evaluation_year = lifted_out.poverty_year
    union all
    select
        'remaining' as variant,
        county_year.county_code,
        county_year.evaluation_year,
        case when county_year.has_poor_person then coalesce(still_poor.person_count, 0) end as numerator,
        coalesce(still_poor.load_ids, {{ empty_list() }}) as numerator_load_ids
    from county_year
    left join still_poor
        on county_year.county_code = still_poor.county_code
        and county_year.evaluation_year = still_poor.poverty_year
),

final as (
    select
        'C1' as indicator_code,
        variant,
        county_code as area_code,
        evaluation_year,
        'all' as subgroup,
        'none' as basis,
        cast(numerator as numeric(38, 0)) as numerator,
        cast(null as numeric(38, 0)) as denominator,
        numerator_load_ids,
        {{ empty_list() }} as denominator_load_ids
    from c1
)

select * from final
