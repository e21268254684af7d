-- grain: one row per reference year × county of residence × disability certificate
with

disabled_child as (select * from {{ ref('stg_disabled_child') }}),
disability as (select * from {{ ref('dim_disability') }}),
school_year as (select * from {{ ref('dim_school_year') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

position as (
    {{ parts_to(7) }}
),

listed as (
    select
        disabled_child.record_key,
        disabled_child.county_code,
        disabled_child.reference_year,
        position.part,
        {{ list_part('disabled_child.component_types', 'position.part') }} as component
    from disabled_child
    cross join position
    where disabled_child.disability_code = 'multiple' and disabled_child.component_types is not null
),

-- a multiple disability counts where any component is one of the three types, under the first one listed
component as (
    select
        listed.record_key,
        listed.county_code,
        listed.reference_year,
        disability.disability_code,
        row_number() over (
            partition by listed.record_key, listed.county_code, listed.reference_year order by listed.part
        ) as component_order
    from listed
    inner join disability
        on listed.component = disability.disability_code
        or listed.component like disability.name_zh || '%'
        or listed.component = cast(disability.certificate_digit as {{ dbt.type_string() }})
    where disability.is_three_types
),

first_component as (select * from component where component_order = 1),

final as (
    select
        {{ surrogate_key([
            'disabled_child.reference_year', 'disabled_child.county_code', 'disabled_child.record_key'
        ]) }} as disabled_child_key,
        case
            when disabled_child.person_token is null then {{ unknown_key() }}
            else {{ surrogate_key(['disabled_child.person_token']) }}
        end as person_key,
        coalesce(disability.disability_key, {{ unknown_key() }}) as disability_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        disabled_child.reference_year,
        coalesce(area.current_county_code, disabled_child.county_code) as county_code,
        disabled_child.person_token,
        disabled_child.token_basis,
        disabled_child.sex_code,
        disabled_child.disability_code,
        cast(disabled_child.disability_grade as {{ dbt.type_string() }}) as disability_grade,
        case
            when disability.is_three_types then disabled_child.disability_code
            else first_component.disability_code
        end as three_types_code,
        {{ age_on('disabled_child.birth_date', 'school_year.snapshot_date') }} as age_years,
        disabled_child.schooling_status,
        disabled_child.is_in_rehabilitation,
        disabled_child.load_id
    from disabled_child
    inner join school_year on disabled_child.reference_year = school_year.school_start_year
    left join disability on disabled_child.disability_code = disability.disability_code
    left join first_component
        on disabled_child.record_key = first_component.record_key
        and disabled_child.county_code = first_component.county_code
        and disabled_child.reference_year = first_component.reference_year
    left join area on disabled_child.county_code = area.from_area_code
)

select * from final
