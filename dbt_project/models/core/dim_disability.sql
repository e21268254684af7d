-- grain: one row per disability type of the certificate, plus the unknown member
with

disability_type as (select * from {{ ref('disability_types') }}),

final as (
    select
        {{ surrogate_key(['disability_code']) }} as disability_key,
        disability_code,
        certificate_digit,
        name_zh,
        name_en,
        is_three_types
    from disability_type
    union all
    select
        {{ unknown_key() }} as disability_key,
        '-1' as disability_code,
        null as certificate_digit,
        '未知' as name_zh,
        'unknown' as name_en,
        false as is_three_types
)

select * from final
