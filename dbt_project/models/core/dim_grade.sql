-- grain: one row per grade, plus the unknown member
with

grade as (select * from {{ ref('grades') }}),

final as (
    select
        {{ surrogate_key(['grade_code']) }} as grade_key,
        grade_code,
        stage_code,
        name_zh,
        name_en,
        grade_order,
        typical_age,
        is_nursery,
        compulsory_grade_number,
        is_final
    from grade
    union all
    select
        {{ unknown_key() }} as grade_key,
        '-1' as grade_code,
        '-1' as stage_code,
        '未知' as name_zh,
        'unknown' as name_en,
        0 as grade_order,
        null as typical_age,
        false as is_nursery,
        null as compulsory_grade_number,
        false as is_final
)

select * from final
