-- grain: one row per predecessor school × successor school × change type (merger, rename, change of category)
with

register as (select * from {{ ref('stg_school') }}),

position as (
    {{ parts_to(8) }}
),

named as (
    select
        {{ list_part('register.predecessor_codes', 'position.part') }} as predecessor_school_code,
        register.school_code as successor_school_code,
        coalesce(register.change_type_code, '-1') as change_type_code,
        register.change_date,
        register.school_start_year,
        register.load_id
    from register
    cross join position
    where register.predecessor_codes is not null
),

-- the same change is repeated in later registers: its first report counts
ranked as (
    select
        named.*,
        row_number() over (
            partition by predecessor_school_code, successor_school_code, change_type_code
            order by school_start_year
        ) as report_number
    from named
    where predecessor_school_code is not null
),

final as (
    select
        {{ surrogate_key(['predecessor_school_code', 'successor_school_code', 'change_type_code']) }}
            as school_succession_key,
        predecessor_school_code,
        successor_school_code,
        change_type_code,
        change_date,
        school_start_year as reported_start_year,
        load_id
    from ranked
    where report_number = 1
)

select * from final
