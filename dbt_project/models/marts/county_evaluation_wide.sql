-- grain: one row per area × evaluation year, one value and one verdict column per headline indicator
with

evaluation as (select * from {{ ref('county_evaluation') }}),

headline as (select * from evaluation where is_headline),

final as (
    select
        area_code,
        evaluation_year,
        area_name,
        area_level,
        parent_area_code,
        is_plan_county,
        max(case when indicator_code = 'C1' then value end) as c1_poverty_exited_persons,
        max(case when indicator_code = 'C1' then verdict end) as c1_verdict,
        max(case when indicator_code = 'G1a' then value end) as g1a_preschool_gross_enrollment_percent,
        max(case when indicator_code = 'G1a' then verdict end) as g1a_verdict,
        max(case when indicator_code = 'G1b' then value end) as g1b_preschool_gross_enrollment_percent,
        max(case when indicator_code = 'G1b' then verdict end) as g1b_verdict,
        max(case when indicator_code = 'G2a' then value end) as g2a_nine_year_retention_percent,
        max(case when indicator_code = 'G2a' then verdict end) as g2a_verdict,
        max(case when indicator_code = 'G2b' then value end) as g2b_nine_year_retention_percent,
        max(case when indicator_code = 'G2b' then verdict end) as g2b_verdict,
        max(case when indicator_code = 'G3' then value end) as g3_disabled_enrollment_percent,
        max(case when indicator_code = 'G3' then verdict end) as g3_verdict,
        max(case when indicator_code = 'G4' then value end) as g4_upper_secondary_gross_enrollment_percent,
        max(case when indicator_code = 'G4' then verdict end) as g4_verdict,
        max(case when indicator_code = 'G14' then value end) as g14_out_of_school_for_poverty_persons,
        max(case when indicator_code = 'G14' then verdict end) as g14_verdict,
        max(case when indicator_code = 'A1.3' then value end)
            as a1_3_priority_preschool_gross_enrollment_percent,
        max(case when indicator_code = 'A1.3' then verdict end) as a1_3_verdict,
        max(case when indicator_code = 'A1.6' then value end) as a1_6_poor_preschool_enrollment_percent,
        max(case when indicator_code = 'A1.6' then verdict end) as a1_6_verdict,
        max(case when indicator_code = 'G0' and variant = 'gap_ger3' then value end)
            as g0_gap_ger3_percentage_points,
        max(case when indicator_code = 'G0' and variant = 'gap_ger3' then verdict end) as g0_gap_ger3_verdict,
        max(case when indicator_code = 'G0' and variant = 'gap_ret9_unadj' then value end)
            as g0_gap_ret9_percentage_points,
        max(case when indicator_code = 'G0' and variant = 'gap_ret9_unadj' then verdict end)
            as g0_gap_ret9_verdict,
        max(case when indicator_code = 'G0' and variant = 'gap_disabled' then value end)
            as g0_gap_disabled_percentage_points,
        max(case when indicator_code = 'G0' and variant = 'gap_disabled' then verdict end)
            as g0_gap_disabled_verdict,
        max(case when indicator_code = 'G0' and variant = 'gap_ger_upper_secondary' then value end)
            as g0_gap_upper_secondary_percentage_points,
        max(case when indicator_code = 'G0' and variant = 'gap_ger_upper_secondary' then verdict end)
            as g0_gap_upper_secondary_verdict,
        max(case when indicator_code = 'G3' then conf_status end) as g3_conf_status,
        max(case when indicator_code = 'G3' then value_bound end) as g3_value_bound,
        max(case when indicator_code = 'G14' then conf_status end) as g14_conf_status,
        max(case when indicator_code = 'A1.6' then conf_status end) as a1_6_conf_status,
        max(case when indicator_code = 'A1.6' then value_bound end) as a1_6_value_bound,
        max(case when indicator_code = 'G0' and variant = 'gap_disabled' then conf_status end)
            as g0_gap_disabled_conf_status
    from headline
    group by area_code, evaluation_year, area_name, area_level, parent_area_code, is_plan_county
)

select * from final
