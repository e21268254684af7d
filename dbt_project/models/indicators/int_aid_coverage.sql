-- grain: one row per basis × home county × school county × semester × entitlement: due, covered, yuan and their loads
with

aid_status as (select * from {{ ref('int_aid_status') }}),

-- rows of the same counties and the same loads are alike: a few thousand cells stand for millions of rows
cell as (
    select
        home_county_code,
        school_county_code,
        semester_code,
        evaluation_year,
        term,
        entitlement_code,
        is_due_plan_strict,
        poverty_load_id,
        roll_load_id,
        recognition_load_id,
        payment_load_ids,
        count(*) as due_count,
        sum(case when is_covered then 1 else 0 end) as covered_count,
        sum(standard_yuan) as due_yuan,
        sum(paid_yuan) as paid_yuan
    from aid_status
    where is_due_national_broad
    group by
        home_county_code,
        school_county_code,
        semester_code,
        evaluation_year,
        term,
        entitlement_code,
        is_due_plan_strict,
        poverty_load_id,
        roll_load_id,
        recognition_load_id,
        payment_load_ids
),

on_basis as (
    select
        'plan_strict' as basis,
        cell.*
    from cell
    where is_due_plan_strict
    union all
    select
        'national_broad' as basis,
        cell.*
    from cell
),

stacked as (
    select
        basis,
        home_county_code,
        school_county_code,
        semester_code,
        evaluation_year,
        term,
        entitlement_code,
        due_count,
        covered_count,
        due_yuan,
        paid_yuan,
        cast(null as bigint) as due_load_id,
        cast(null as bigint) as paid_load_id
    from on_basis
    union all
    select
        on_basis.basis,
        on_basis.home_county_code,
        on_basis.school_county_code,
        on_basis.semester_code,
        on_basis.evaluation_year,
        on_basis.term,
        on_basis.entitlement_code,
        0 as due_count,
        0 as covered_count,
        0 as due_yuan,
        0 as paid_yuan,
        case position.part
            when 1 then on_basis.poverty_load_id
            when 2 then on_basis.roll_load_id
            else on_basis.recognition_load_id
        end as due_load_id,
        null as paid_load_id
    from on_basis
    cross join (
        {{ parts_to(3) }}
    ) as position
    union all
    select
        on_basis.basis,
        on_basis.home_county_code,
        on_basis.school_county_code,
        on_basis.semester_code,
        on_basis.evaluation_year,
        on_basis.term,
        on_basis.entitlement_code,
        0 as due_count,
        0 as covered_count,
        0 as due_yuan,
        0 as paid_yuan,
        null as due_load_id,
        item.load_id as paid_load_id
    from on_basis
    {{ each_of('on_basis.payment_load_ids', 'item') }}
),

grouped as (
    select
        basis,
        home_county_code,
        school_county_code,
        semester_code,
        evaluation_year,
        term,
        entitlement_code,
        sum(due_count) as due_count,
        sum(covered_count) as covered_count,
        sum(due_yuan) as due_yuan,
        sum(paid_yuan) as paid_yuan,
        {{ sorted_list('due_load_id') }} as due_load_ids,
        {{ sorted_list('paid_load_id') }} as paid_load_ids
    from stacked
    group by basis, home_county_code, school_county_code, semester_code, evaluation_year, term, entitlement_code
),

final as (
    select
        basis,
        home_county_code,
        school_county_code,
        semester_code,
        evaluation_year,
        term,
        entitlement_code,
        cast(due_count as bigint) as due_count,
        cast(covered_count as bigint) as covered_count,
        cast(due_yuan as numeric(20, 2)) as due_yuan,
        cast(paid_yuan as numeric(20, 2)) as paid_yuan,
        due_load_ids,
        paid_load_ids
    from grouped
)

select * from final
