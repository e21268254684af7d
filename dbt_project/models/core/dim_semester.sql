-- grain: one row per semester; which register and which poverty list are its roll
with

semester as (select * from {{ ref('semesters') }}),

final as (
    select
        {{ surrogate_key(['semester_code']) }} as semester_key,
        semester_code,
        evaluation_year,
        term,
        {{ semester_order('evaluation_year', 'term') }} as semester_order,
        school_start_year,
        poverty_year,
        cut_off_date,
        start_date,
        end_date,
        is_in_scope
    from semester
)

select * from final
