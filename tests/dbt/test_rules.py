"""dbt's unit tests on the formulas, and proof that our own generic tests can fail."""

from __future__ import annotations

import pytest

from tests.dbt.conftest import Dbt
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

#: what the plan's figures stand on; a formula without one of these is not proven
UNIT_TESTS = {
    "primary_roll_is_one_per_person", "age_is_completed_years_on_1_september",
    "multiple_disability_counts_by_first_component", "area_codes_lead_to_the_code_of_today",
    "a_school_changes_version_when_an_attribute_changes", "an_event_without_an_id_is_known_by_its_student_number",
    "nursery_classes_do_not_count", "retention_of_the_golden_cohort", "children_are_found_by_token_on_primary_rolls",
    "poor_children_on_a_preschool_roll", "people_lifted_out_of_poverty_since_2016",
    "areas_pool_numerators_and_denominators", "what_nobody_delivers_has_cells_without_a_value",
    "verdicts_compare_whole_numbers", "withheld_cells_cannot_be_computed_back",
    "registers_give_leads_and_near_misses_stay_silent", "a_poverty_list_contradicts_itself",
    "a_dismissal_holds_while_the_evidence_is_the_same", "payments_give_leads_and_near_misses_stay_silent",
    "money_gives_leads_and_near_misses_stay_silent", "amounts_cards_boarders_and_fees_give_leads",
    "a_reversed_payment_paid_again_was_paid_once", "meals_give_leads_and_near_misses_stay_silent",
    "dense_cells_show_rounded_figures_only", "an_assumed_year_dates_an_entitlement",
    "an_entitlement_is_in_force_where_and_when_its_rule_says", "due_follows_roll_list_and_rule",
    "exit_may_end_the_entitlement", "a_payment_without_an_id_is_known_by_its_student_number",
    "the_grant_of_a_pupil_goes_to_the_school_that_teaches", "what_was_paid_beside_what_was_due",
    "ordinary_aid_first_and_all_components", "aid_of_a_county_follows_from_rounded_counts",
    "a_missed_entitlement_says_since_when", "the_latest_ledger_of_a_dropout_case_speaks",
    "meals_and_liability_cover_of_schools", "children_in_need_are_counted_where_they_live",
    "leads_of_persons_are_published_rounded", "a_rule_is_measurable_where_all_its_feeds_came",
    "files_of_poor_pupils_and_leads", "the_board_says_what_is_due_and_what_contradicts",
}  # fmt: skip


def test_formulas_hold_on_rows_written_by_hand(empty_dbt: Dbt) -> None:
    results = empty_dbt.run("test", "--select", "test_type:unit")
    passed = {r.node.name for r in results if r.status == "pass"}
    assert passed >= UNIT_TESTS


#: a defect written into landing, and the test that must find it
DEFECTS = {
    "a school delivered twice": (
        "insert into landing.school (school_year, county_code, school_code, school_name, school_type_code,"
        " village_code, record_key, scope_key, record_hash, load_id, source_line)"
        " select '2020/21', '640422', '2164000001', '甲', '211', '640422100201', k, 's', 'h', 1, 1"
        " from (values ('a'), ('b')) as twice (k)",
        "stg_school",
        "unique_combination",
    ),
    "an area whose versions overlap": (
        "insert into landing.admin_area (area_code, area_name, area_level, valid_from, valid_to, record_key, scope_key,"
        " record_hash, load_id, source_line) values"
        " ('640422', '西吉县', 'county', '2000-01-01', '2018-01-01', 'a', 's', 'h', 1, 1),"
        " ('640422', '西吉县', 'county', '2017-01-01', null, 'b', 's', 'h', 1, 2)",
        "dim_area",
        "no_overlapping_spans",
    ),
    "a register event outside the spine of school years": (
        "insert into landing.student_event (school_year, county_code, event_number, student_number_token, person_token,"
        " token_basis, event_type, event_date, approval_status, record_key, scope_key, record_hash, load_id,"
        " source_line) values ('1990/91', '640422', 'e1', 's', 'p', 'id_number', 'death', '1990-10-01', 'approved',"
        " 'a', 's', 'h', 1, 1)",
        "fct_student_event",
        "same_row_count",
    ),
    "a cell with a stage that does not exist": (
        "insert into landing.enrollment_count (school_year, county_code, school_code, stage, grade, sex,"
        " enrollment_count, record_key, scope_key, record_hash, load_id, source_line)"
        " values ('2020/21', '640422', '2164000001', 'college', 'P1', '1', 5, 'a', 's', 'h', 1, 1)",
        "fct_school_enrollment",
        "relationships",
    ),
}


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_data_tests_find_defects(empty_dbt: Dbt, empty_warehouse: WarehouseConfig, defect: str) -> None:
    statement, model, rule = DEFECTS[defect]
    table = statement.split()[2]
    with connect("ingest", empty_warehouse) as connection:
        connection.execute(statement)
        connection.commit()
    try:
        success, results = empty_dbt.call("build", "--select", f"+{model}", "--exclude-resource-type", "unit_test")
        failed = {r.node.test_metadata.name for r in results if r.status == "fail"}
        assert not success
        assert rule in failed
    finally:
        with connect("admin", empty_warehouse) as connection:
            connection.execute(f"truncate {table}")
            connection.commit()
    empty_dbt.run("build", "--select", f"+{model}", "--exclude-resource-type", "unit_test")
