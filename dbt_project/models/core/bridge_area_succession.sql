-- grain: one row per area code ever delivered; which code stands for it at the latest date
with

area as (select * from {{ ref('dim_area') }}),
succession as (select * from {{ ref('stg_area_succession') }}),

current_area as (
    select *
    from area
    where is_current
),

known_code as (
    select area_code from area where area_code <> '-1'
    union
    select from_area_code as area_code from succession
    union
    select to_area_code as area_code from succession
),

-- a code that is still valid stands for itself, also after part of it was split off
step as (
    select
        succession.from_area_code,
        succession.to_area_code,
        succession.load_id,
        row_number() over (
            partition by succession.from_area_code
            order by succession.change_date desc, succession.to_area_code asc
        ) as preference
    from succession
    left join current_area on succession.from_area_code = current_area.area_code
    where succession.from_area_code <> succession.to_area_code and current_area.area_code is null
),

next_code as (select * from step where preference = 1),

-- five changes of one code cover every chain since 1993; a test fails when a chain is longer
resolved as (
    select
        known_code.area_code as from_area_code,
        coalesce(
            fifth.to_area_code, fourth.to_area_code, third.to_area_code,
            second.to_area_code, first.to_area_code, known_code.area_code
        ) as current_area_code,
        case
            when fifth.to_area_code is not null then 5
            when fourth.to_area_code is not null then 4
            when third.to_area_code is not null then 3
            when second.to_area_code is not null then 2
            when first.to_area_code is not null then 1
            else 0
        end as change_count,
        first.load_id as succession_load_id
    from known_code
    left join next_code as first on known_code.area_code = first.from_area_code
    left join next_code as second on first.to_area_code = second.from_area_code
    left join next_code as third on second.to_area_code = third.from_area_code
    left join next_code as fourth on third.to_area_code = fourth.from_area_code
    left join next_code as fifth on fourth.to_area_code = fifth.from_area_code
),

final as (
    select
        coalesce(current_area.area_key, {{ unknown_key() }}) as area_key,
        resolved.from_area_code,
        resolved.current_area_code,
        coalesce(
            current_area.county_code,
            case when length(resolved.current_area_code) >= 6 then substr(resolved.current_area_code, 1, 6) end
        ) as current_county_code,
        resolved.change_count,
        coalesce(resolved.succession_load_id, current_area.load_id) as load_id
    from resolved
    left join current_area on resolved.current_area_code = current_area.area_code
)

select * from final
