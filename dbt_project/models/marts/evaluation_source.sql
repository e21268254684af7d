-- grain: one row per indicator × variant × area × evaluation year × subgroup × basis × source file (by content hash)
with

indicator_value as (select * from {{ ref('fct_indicator_value') }}),
source_file as (select * from {{ ref('dim_source_file') }}),

published as (select * from indicator_value where evaluation_year <= {{ var('evaluation_year') }}),

counted as (
    select
        published.indicator_code,
        published.variant,
        published.area_code,
        published.evaluation_year,
        published.subgroup,
        published.basis,
        item.load_id,
        1 as in_numerator,
        0 as in_denominator
    from published
    {{ each_of('published.numerator_load_ids', 'item') }}
    union all
    select
        published.indicator_code,
        published.variant,
        published.area_code,
        published.evaluation_year,
        published.subgroup,
        published.basis,
        item.load_id,
        0 as in_numerator,
        1 as in_denominator
    from published
    {{ each_of('published.denominator_load_ids', 'item') }}
),

by_file as (
    select
        counted.indicator_code,
        counted.variant,
        counted.area_code,
        counted.evaluation_year,
        counted.subgroup,
        counted.basis,
        source_file.file_sha256,
        source_file.feed,
        max(counted.in_numerator) as in_numerator,
        max(counted.in_denominator) as in_denominator
    from counted
    inner join source_file on counted.load_id = source_file.load_id
    group by
        counted.indicator_code, counted.variant, counted.area_code, counted.evaluation_year, counted.subgroup,
        counted.basis, source_file.file_sha256, source_file.feed
),

final as (
    select
        indicator_code,
        variant,
        area_code,
        evaluation_year,
        subgroup,
        basis,
        file_sha256,
        feed,
        case
            when in_numerator = 1 and in_denominator = 1 then 'both'
            when in_numerator = 1 then 'numerator'
            else 'denominator'
        end as row_role
    from by_file
)

select * from final
