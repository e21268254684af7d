"""The version of a release follows from what changed: never less than that, and told cell by cell with its cause."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edupa.release_diff import compare_releases, write_csv, write_json
from tests.warehouse.candidates import Mart, Marts, asked, cells, changed, create, marts, new_database, publish
from warehouse.canonical import ReleaseError, seal_of
from warehouse.changes import Comparison, Origin, candidate_edition, compare
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.verify import verify
from warehouse.versioning import LEVELS, Level, agreed_level, next_id, next_version, rank

Change = Callable[[Marts], None]


def _value(found: Marts) -> None:
    cells(found, indicator_code="G1b", area_code="640424")[0]["value"] = 71


def _verdict(found: Marts) -> None:
    cells(found, indicator_code="G3", area_code="640424")[0]["verdict"] = "off_track"


def _hide(found: Marts) -> None:
    cells(found, indicator_code="G3", area_code="640422")[0].update(
        numerator=None, denominator=None, value=None, verdict="suppressed", conf_status="A"
    )


def _new_column(found: Marts) -> None:
    mart = found["county_evaluation"]
    mart.columns["gap_to_region"] = "numeric(20,4)"


def _new_area(found: Marts) -> None:
    found["county_evaluation"].rows.append({**found["county_evaluation"].rows[0], "area_code": "640303"})


def _new_mart(found: Marts) -> None:
    found["balance_cv"] = Mart({"area_code": "text", "value": "numeric(20,4)"}, ["area_code"], [])


def _source(found: Marts) -> None:
    for row in found["evaluation_source"].rows:
        if row["file_sha256"] == "f2":
            row["file_sha256"] = "f3"


def _name(found: Marts) -> None:
    for row in found["indicator_dictionary"].rows:
        row["name_zh"] += "（修订）"


def _comment(found: Marts) -> None:
    found["county_evaluation"].comments["value"] = "指标值（四位小数） — value, four decimals"


def _table_comment(found: Marts) -> None:
    found["indicator_dictionary"].comments[""] = "指标字典"


def _formula(found: Marts) -> None:
    found["indicator_dictionary"].rows[0]["formula_text"] = "在园幼儿数 ÷ 4—6岁人口 × 100"


def _method(found: Marts) -> None:
    for row in cells(found, indicator_code="G3"):
        row["method_version"] = "2"


def _unit(found: Marts) -> None:
    for row in cells(found, indicator_code="G3"):
        row["unit"] = "permille"


def _drop_indicator(found: Marts) -> None:
    for name in ("county_evaluation", "indicator_dictionary"):
        found[name].rows = [row for row in found[name].rows if row["indicator_code"] != "G3"]


def _drop_area(found: Marts) -> None:
    found["county_evaluation"].rows = cells(found, area_code="640424")


def _drop_cell(found: Marts) -> None:
    found["county_evaluation"].rows.remove(cells(found, indicator_code="G1b", area_code="640422")[0])


def _drop_column(found: Marts) -> None:
    del found["county_evaluation"].columns["name_zh"]


def _drop_mart(found: Marts) -> None:
    del found["evaluation_source"]


def _type(found: Marts) -> None:
    found["county_evaluation"].columns["target_year"] = "text"
    for row in found["county_evaluation"].rows:
        row["target_year"] = str(row["target_year"])


CHANGES: dict[str, tuple[Change, Level]] = {
    "value": (_value, "minor"),
    "verdict": (_verdict, "minor"),
    "hidden cell": (_hide, "minor"),
    "new column": (_new_column, "minor"),
    "new area": (_new_area, "minor"),
    "new mart": (_new_mart, "minor"),
    "other source file": (_source, "minor"),
    "name": (_name, "patch"),
    "comment of a column": (_comment, "patch"),
    "comment of a table": (_table_comment, "patch"),
    "formula": (_formula, "major"),
    "method version": (_method, "major"),
    "unit": (_unit, "major"),
    "indicator gone": (_drop_indicator, "major"),
    "area gone": (_drop_area, "major"),
    "cell gone": (_drop_cell, "major"),
    "column gone": (_drop_column, "major"),
    "mart gone": (_drop_mart, "major"),
    "type": (_type, "major"),
}


@pytest.fixture(scope="module")
def compared(warehouse: WarehouseConfig) -> Callable[[Marts], Comparison]:
    """Compare the plain marts with others, in a transaction that is undone."""

    def against_plain(other: Marts) -> Comparison:
        with connect("admin", warehouse) as conn:
            editions = []
            for schema, found in (("diff_old", marts()), ("diff_new", other)):
                conn.execute(f"create schema {schema}".encode())
                create(conn, schema, found)
                seals = {name: seal_of(conn, schema, name) for name in found}
                editions.append(candidate_edition(conn, schema, seals, Origin(2019, None, None, None, {}, {})))
            result = compare(conn, editions[0], editions[1])
            conn.rollback()
            return result

    return against_plain


@pytest.mark.parametrize("name", CHANGES)
def test_level_of_a_single_change(compared: Callable[[Marts], Comparison], name: str) -> None:
    change, level = CHANGES[name]
    found = compared(changed(marts(), change))
    assert found.level == level, found.reasons


def test_no_change_has_no_level(compared: Callable[[Marts], Comparison]) -> None:
    assert compared(marts()).reasons == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(names=st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=4, unique=True))
def test_level_is_that_of_the_weightiest_of_many_changes(
    compared: Callable[[Marts], Comparison], names: list[str]
) -> None:
    other = marts()
    applied: list[Level] = []
    for name in names:
        change, level = CHANGES[name]
        try:
            change(other)
        except (KeyError, IndexError):  # an earlier change took away what this one would touch
            continue
        applied.append(level)
    found = compared(other)
    assert rank(found.level) >= max(map(rank, applied)), (names, found.reasons)


@given(
    series=st.lists(st.tuples(*[st.integers(0, 30)] * 3).map(lambda v: ".".join(map(str, v))), max_size=6),
    level=st.sampled_from(LEVELS),
)
def test_versions_only_grow(series: list[str], level: Level) -> None:
    new = tuple(map(int, next_version(series, level).split(".")))
    assert all(new > tuple(map(int, version.split("."))) for version in series)


def test_ids_count_changes_of_the_year_and_its_corrections() -> None:
    assert next_id(2020, ["2019.1.0", "2019.2.0"], "major") == "2020.1.0"
    assert next_id(2019, ["2019.1.0", "2019.10.0", "2019.9.0"], "minor") == "2019.11.0"
    assert next_id(2019, ["2019.1.0", "2019.2.0", "2019.2.1"], "patch") == "2019.2.2"


@pytest.mark.parametrize("computed", LEVELS)
@pytest.mark.parametrize("declared", LEVELS)
def test_a_declared_level_may_be_higher_but_never_lower(declared: Level, computed: Level) -> None:
    if rank(declared) >= rank(computed):
        assert agreed_level(declared, computed, [], "2019.1.0") == declared
    else:
        with pytest.raises(
            ReleaseError, match=f"declared as {declared}, but the change against 2019.1.0 is {computed}"
        ):
            agreed_level(declared, computed, [], "2019.1.0")


# --- published ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def series(warehouse: WarehouseConfig) -> WarehouseConfig:
    """2019.1.0, then 2020.1.0 (a year more), 2020.1.1 (texts), 2020.2.0 (values, one hidden), 2020.3.0 (method)."""
    config = new_database(warehouse)
    found = marts()
    assert publish(config, found).release_id == "2019.1.0"
    found = marts(years=(2019, 2020))
    assert publish(config, found, year=2020).release_id == "2020.1.0"
    found = changed(changed(found, _comment), _name)
    assert publish(config, found, year=2020, change="patch").release_id == "2020.1.1"
    found = changed(changed(found, _value), _hide)
    done = publish(
        config,
        found,
        year=2020,
        kind="restatement",
        input_sha256={"enrollment_count": "e2", "population_age": "p1", "pupil": "u1"},
        seed_sha256={"indicators": "r", "targets": "t2"},
    )
    assert done.release_id == "2020.2.0"
    assert publish(config, changed(found, _method), year=2020, git_commit="b" * 40).release_id == "2020.3.0"
    return config


def test_version_runs_over_the_series(series: WarehouseConfig) -> None:
    assert asked(
        series,
        "select release_id, semantic_version, change_level, previous_release from marts.release_registry"
        " order by frozen_at",
    ) == [
        ("2019.1.0", "1.0.0", "first", None),
        ("2020.1.0", "1.1.0", "minor", "2019.1.0"),
        ("2020.1.1", "1.1.1", "patch", "2020.1.0"),
        ("2020.2.0", "1.2.0", "minor", "2020.1.1"),
        ("2020.3.0", "2.0.0", "major", "2020.2.0"),
    ]


def test_texts_alone_make_a_patch_with_a_hash_of_its_own(series: WarehouseConfig) -> None:
    rows = asked(
        series,
        "select table_sha256 -> 'county_evaluation' ->> 'sha256',"
        " table_sha256 -> 'county_evaluation' ->> 'texts_sha256', content_sha256"
        " from marts.release_registry where release_id in ('2020.1.0', '2020.1.1')",
    )
    assert rows[0][0] == rows[1][0]
    assert rows[0][1] != rows[1][1]
    assert rows[0][2] != rows[1][2]
    told = "select col_description('release_{}.county_evaluation'::regclass, a.attnum) from pg_attribute a where"
    told += " a.attrelid = 'release_{}.county_evaluation'::regclass and a.attname = 'value'"
    assert asked(series, told.replace("{}", "2020_1_0")) == [("指标值 — value",)]
    assert asked(series, told.replace("{}", "2020_1_1")) == [("指标值（四位小数） — value, four decimals",)]


def test_a_changed_comment_of_a_frozen_table_is_found(series: WarehouseConfig) -> None:
    assert verify(series)[1] == []
    with connect("admin", series) as conn:
        conn.execute("comment on column releases.\"county_evaluation__2019_1_0\".value is '改'")
    assert [(found.table, found.problem) for found in verify(series)[1]] == [
        ("county_evaluation__2019_1_0", "comments differ from those frozen")
    ]
    with connect("admin", series) as conn:
        conn.execute("comment on column releases.\"county_evaluation__2019_1_0\".value is '指标值 — value'")
    assert verify(series)[1] == []


def test_moved_cells_are_published_with_their_cause(series: WarehouseConfig) -> None:
    columns = "indicator_code, area_code, evaluation_year, change, old_value, new_value, cause"
    moved = asked(series, f"select {columns} from release_2020_2_0.release_change order by row_key")
    assert moved == [
        ("G1b", "640424", 2019, "changed", 70, 71, "input: enrollment_count; seeds: targets"),
        ("G3", "640422", 2019, "hidden", None, None, "seeds: targets"),
    ]
    added = asked(series, "select change, cause, count(*) from release_2020_1_0.release_change group by 1, 2")
    assert added == [("added", "new_year", 4)]
    assert asked(series, "select count(*) from release_2020_3_0.release_change") == [(0,)]
    notes = asked(
        series, "select text_en from release_2020_2_0.release_notes where section = 'change' order by note_number"
    )
    assert notes == [
        ("Against release 2020.1.1: 0 cells added, 1 changed, 0 gone, 1 told only as hidden.",),
        ("G1b: 0 cells added, 1 changed, 0 gone, 0 hidden; cause: input: enrollment_count; seeds: targets.",),
        ("G3: 0 cells added, 0 changed, 0 gone, 1 hidden; cause: seeds: targets.",),
    ]


def test_a_cell_that_either_release_hides_tells_nothing(series: WarehouseConfig) -> None:
    for old, new in (("2020.1.1", "2020.2.0"), ("2020.2.0", "2020.1.1")):
        with connect("evaluator", series) as conn:
            found = compare_releases(conn, old, new)
        out = io.StringIO()
        write_csv(found, out)
        (hidden,) = [row for row in csv.DictReader(io.StringIO(out.getvalue())) if row["change"] == "hidden"]
        assert hidden["row_key"] == "G3|ger3|640422|2019|all|resident"
        told = {name for name, text in hidden.items() if text and name.startswith(("old_", "new_"))}
        assert told == {"old_conf_status", "new_conf_status"}
    with connect("admin", series) as conn, pytest.raises(psycopg.errors.CheckViolation, match="hidden_tells_nothing"):
        conn.execute(
            "create table pg_temp.shape (like releases.release_change including constraints);"
            "insert into pg_temp.shape (release_id, mart, row_key, change, old_value, new_conf_status, cause)"
            " values ('x', 'm', 'k', 'changed', 7, 'A', 'code')"
        )


def test_diff_between_any_two_releases_in_either_direction(series: WarehouseConfig) -> None:
    with connect("evaluator", series) as conn:
        onward = compare_releases(conn, "2019.1.0", "2020.2.0")
        back = compare_releases(conn, "2020.2.0", "2019.1.0")
        same = compare_releases(conn, "2020.2.0", "2020.2.0")
        with pytest.raises(ReleaseError, match=r"there is no release 2031\.1\.0: `edupa release list` names all"):
            compare_releases(conn, "2019.1.0", "2031.1.0")
    assert (onward.level, back.level, same.level) == ("minor", "major", None)
    assert any(reason.en == "county_evaluation.evaluation_year lost 2020" for reason in back.reasons)
    assert len(onward.cells) == len(back.cells) == 6
    out = io.StringIO()
    write_json(back, out)
    told = json.loads(out.getvalue())
    value = [cell for cell in told["cells"] if cell["change"] == "changed"]
    assert [(cell["old_value"], cell["new_value"]) for cell in value] == [("71.0000", "70.0000")]


def test_an_understated_change_is_refused_with_its_reasons_and_nothing_changes(series: WarehouseConfig) -> None:
    state = (
        "select (select count(*) from ledger.release), (select release_id from releases.pointer),"
        " (select array_agg(nspname order by 1) from pg_namespace where nspname like 'release%')"
    )
    wrong = changed(marts(years=(2019, 2020)), _drop_indicator)
    with connect("auditor", series) as conn:
        before = conn.execute(state).fetchall()
    with pytest.raises(ReleaseError) as refused:
        publish(series, wrong, year=2020, change="minor")
    for told in (
        "declared as minor, but the change against 2020.3.0 is major",
        "major: county_evaluation.indicator_code lost G3",
        "major: county_evaluation lost 4 cells",
        "Declare major or leave the level to be computed; nothing was frozen",
    ):
        assert told in str(refused.value)
    with connect("auditor", series) as conn:
        assert conn.execute(state).fetchall() == before
    assert publish(series, year=2020, dry_run=True).change_level == "major"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_type, r"target_year changed from integer to text: published columns keep their type"),
        (
            lambda found: found["indicator_dictionary"].__setattr__("key", ["indicator_code", "variant"]),
            r"the key of indicator_dictionary changed from .* publish it under a new name",
        ),
    ],
    ids=["type", "key"],
)
def test_a_changed_type_or_key_is_refused(series: WarehouseConfig, change: Change, told: str) -> None:
    with pytest.raises(ReleaseError, match=told):
        publish(series, changed(marts(years=(2019, 2020)), change), year=2020)
