-- grain: one row per registered-poor household × version (SCD2 over the year-end registers), plus the unknown member
with

register as (select * from {{ ref('stg_poor_household') }}),
area as (select * from {{ ref('bridge_area_succession') }}),

last_register as (select max(poverty_year) as poverty_year from register),

described as (
    select
        register.*,
        {{ surrogate_key([
            'village_code', 'member_count', 'household_type', 'main_cause', 'poverty_status', 'exit_year'
        ]) }} as attribute_hash
    from register
),

compared as (
    select
        described.*,
        lag(attribute_hash) over (partition by county_code, household_number order by poverty_year) as previous_hash,
        lag(poverty_year) over (partition by county_code, household_number order by poverty_year) as previous_year
    from described
),

marked as (
    select
        compared.*,
        case
            when attribute_hash = previous_hash and poverty_year = previous_year + 1 then 0
            else 1
        end as is_new_version
    from compared
),

numbered as (
    select
        marked.*,
        sum(is_new_version) over (
            partition by county_code, household_number
            order by poverty_year rows between unbounded preceding and current row
        ) as version_number
    from marked
),

versions as (
    select
        numbered.*,
        max(poverty_year) over (partition by county_code, household_number, version_number) as last_poverty_year
    from numbered
),

-- half-open, in register years: a version holds from its first register up to, not with, valid_to_year
final as (
    select
        {{ surrogate_key(['versions.county_code', 'versions.household_number', 'versions.poverty_year']) }}
            as household_key,
        coalesce(area.area_key, {{ unknown_key() }}) as area_key,
        versions.county_code,
        versions.household_number,
        versions.village_code,
        versions.member_count,
        versions.household_type,
        versions.main_cause,
        versions.poverty_status,
        versions.exit_year,
        versions.poverty_year as valid_from_year,
        case
            when versions.last_poverty_year < last_register.poverty_year then versions.last_poverty_year + 1
        end as valid_to_year,
        versions.last_poverty_year = last_register.poverty_year as is_current,
        versions.load_id
    from versions
    left join area on versions.village_code = area.from_area_code
    cross join last_register
    where versions.is_new_version = 1
    union all
    select
        {{ unknown_key() }} as household_key,
        {{ unknown_key() }} as area_key,
        '-1' as county_code,
        '-1' as household_number,
        null as village_code,
        null as member_count,
        null as household_type,
        null as main_cause,
        null as poverty_status,
        null as exit_year,
        1900 as valid_from_year,
        null as valid_to_year,
        false as is_current,
        null as load_id
)

select * from final
