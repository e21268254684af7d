-- grain: one row per stage of schooling, plus the unknown member
with

stage as (select * from {{ ref('stages') }}),

final as (
    select
        {{ surrogate_key(['stage_code']) }} as stage_key,
        stage_code,
        name_zh,
        name_en,
        is_compulsory,
        display_order
    from stage
    union all
    select
        {{ unknown_key() }} as stage_key,
        '-1' as stage_code,
        '未知' as name_zh,
        'unknown' as name_en,
        false as is_compulsory,
        0 as display_order
)

select * from final
