-- grain: one row per poverty year × poor person × pupil that numbers do not join, as now known
with

record as (select * from {{ source('matching', 'person_pair') }}),

final as (
    select
        poverty_year,
        poor_person_token,
        pupil_person_token,
        pupil_feed,
        method as match_method,
        score as match_score,
        status as match_status,
        preference,
        explanation,
        explanation_zh,
        explanation_en,
        case_number,
        poor_load_id,
        pupil_load_id,
        load_id
    from record
    where {{ known_versions() }}
)

select * from final
