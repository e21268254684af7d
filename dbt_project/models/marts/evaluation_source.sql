-- grain: one row per indicator × variant × area × evaluation year × subgroup × basis × source file (by content hash)
with

indicator_value as (select * from {{ ref('fct_indicator_value') }}),
source_file as (select * from {{ ref('dim_source_file') }}),
evaluation as (select * from {{ ref('county_evaluation') }}),
indicator as (select * from {{ ref('dim_indicator') }}),
disclosure_policy as (select * from {{ ref('disclosure_policy') }}),
rollup_area as (select * from {{ ref('bridge_area_rollup') }}),

-- a file that was counted says that the count is not nought: a cell that is withheld names no files
published as (
    select
        indicator_value.*,
        -- the files of a sensitive total would tell which of its withheld counties are nought
        disclosure_policy.min_cell_count > 0
        and (evaluation.area_level <> 'county' or indicator.minuend_indicator_code is not null) as is_widened,
        indicator.minuend_indicator_code is not null as is_gap
    from indicator_value
    inner join evaluation
        on indicator_value.indicator_code = evaluation.indicator_code
        and indicator_value.variant = evaluation.variant
        and indicator_value.area_code = evaluation.area_code
        and indicator_value.evaluation_year = evaluation.evaluation_year
        and indicator_value.subgroup = evaluation.subgroup
        and indicator_value.basis = evaluation.basis
    inner join indicator
        on indicator_value.indicator_code = indicator.indicator_code
        and indicator_value.variant = indicator.variant
        and indicator_value.basis = indicator.basis
    inner join disclosure_policy on indicator.disclosure_class = disclosure_policy.disclosure_class
    where evaluation.conf_status = 'F'
),

counted as (
    select
        published.indicator_code,
        published.variant,
        published.area_code,
        published.evaluation_year,
        published.subgroup,
        published.basis,
        published.is_widened,
        published.is_gap,
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
        published.is_widened,
        published.is_gap,
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
    where not counted.is_widened
    group by
        counted.indicator_code, counted.variant, counted.area_code, counted.evaluation_year, counted.subgroup,
        counted.basis, source_file.file_sha256, source_file.feed
),

-- which feeds a sensitive total was counted from, and as what
feed_of_total as (
    select
        counted.indicator_code,
        counted.variant,
        counted.area_code,
        counted.evaluation_year,
        counted.subgroup,
        counted.basis,
        counted.is_gap,
        source_file.feed,
        max(counted.in_numerator) as in_numerator,
        max(counted.in_denominator) as in_denominator
    from counted
    inner join source_file on counted.load_id = source_file.load_id
    where counted.is_widened
    group by
        counted.indicator_code, counted.variant, counted.area_code, counted.evaluation_year, counted.subgroup,
        counted.basis, counted.is_gap, source_file.feed
),

-- every file that served any indicator of a county in a year, whatever came of it
file_of_county as (
    select distinct
        indicator_value.area_code as county_code,
        indicator_value.evaluation_year,
        source_file.feed,
        source_file.file_sha256
    from indicator_value
    inner join indicator
        on indicator_value.indicator_code = indicator.indicator_code
        and indicator_value.variant = indicator.variant
        and indicator_value.basis = indicator.basis
        and indicator.minuend_indicator_code is null
    inner join rollup_area
        on indicator_value.area_code = rollup_area.area_code and rollup_area.area_level = 'county'
    {{ each_of('indicator_value.numerator_load_ids', 'item') }}
    inner join source_file on item.load_id = source_file.load_id
    union
    select distinct
        indicator_value.area_code as county_code,
        indicator_value.evaluation_year,
        source_file.feed,
        source_file.file_sha256
    from indicator_value
    inner join indicator
        on indicator_value.indicator_code = indicator.indicator_code
        and indicator_value.variant = indicator.variant
        and indicator_value.basis = indicator.basis
        and indicator.minuend_indicator_code is null
    inner join rollup_area
        on indicator_value.area_code = rollup_area.area_code and rollup_area.area_level = 'county'
    {{ each_of('indicator_value.denominator_load_ids', 'item') }}
    inner join source_file on item.load_id = source_file.load_id
),

-- so a sensitive total names all files of its feeds, its counties and its year; a gap those of the whole region
by_total as (
    select distinct
        feed_of_total.indicator_code,
        feed_of_total.variant,
        feed_of_total.area_code,
        feed_of_total.evaluation_year,
        feed_of_total.subgroup,
        feed_of_total.basis,
        file_of_county.file_sha256,
        feed_of_total.feed,
        feed_of_total.in_numerator,
        feed_of_total.in_denominator
    from feed_of_total
    inner join file_of_county
        on feed_of_total.evaluation_year = file_of_county.evaluation_year
        and feed_of_total.feed = file_of_county.feed
    inner join rollup_area
        on file_of_county.county_code = rollup_area.county_code
        and (
            feed_of_total.area_code = rollup_area.area_code and not feed_of_total.is_gap
            or rollup_area.area_level = 'region' and feed_of_total.is_gap
        )
),

together as (
    select * from by_file
    union all
    select * from by_total
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
    from together
)

select * from final
