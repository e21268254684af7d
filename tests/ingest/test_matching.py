"""Matching of persons with damaged numbers: precision, recall and the review queue, against who is known to be whom."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

import ingest
from edupa.cli import app
from ingest import Contract, MatchingError
from ingest.landing import copy_in
from ingest.match_names import digits_off, fits_but_unreadable, name_key, one_character_off
from ingest.match_pools import Pools
from ingest.match_scores import case_number
from ingest.match_settings import RULES_FILE, check_against, load_rules, read_rules
from ingest.matching import match_persons, match_pools
from simulator import simulate
from tests.ingest.matching_province import HELD, MATCHED, YEAR, Province, land, make_province
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

NO_DECISION = pl.DataFrame(schema={"case_number": pl.String, "decided": pl.Boolean})
Pair = tuple[str, str]


@pytest.fixture(scope="module")
def province() -> Province:
    """3 % of the numbers damaged would leave few of each kind: here 15 %."""
    return make_province(seed=7, poor=1500, others=2500, damaged_share=0.15)


@pytest.fixture(scope="module")
def matched(own_server: WarehouseConfig, contracts: dict[str, Contract], province: Province) -> WarehouseConfig:
    """The warehouse with the province, matched once."""
    ingest.ensure_token_key(own_server)
    with connect("ingest", own_server) as conn:
        ingest.ensure_landing(conn, contracts)
    with connect("admin", own_server) as conn:
        conn.execute(
            "insert into ledger.file (file_sha256, feed, file_name, file_bytes)"
            " values (repeat('0', 64), 'pupil', 'x', 1)"
        )
        _load(conn, "poor_person")
        _load(conn, "pupil")
    land(province, own_server)
    match_persons(own_server, contracts)
    return own_server


def _load(conn: psycopg.Connection[tuple[object, ...]], feed: str) -> None:
    conn.execute(
        "insert into ledger.load (file_id, feed, file_name, status)"
        " select min(file_id), %s, 'x', 'landed' from ledger.file",
        (feed,),
    )


def _pairs(config: WarehouseConfig, status: str, columns: str = "") -> list[tuple[object, ...]]:
    with connect("transform", config) as conn:
        return conn.execute(
            f"select poor_person_token, pupil_person_token{columns} from matching.person_pair"
            " where ended_load_id is null and status = %s order by 1, 2".encode(),
            (status,),
        ).fetchall()


@pytest.fixture
def unchanged(matched: WarehouseConfig) -> Iterator[WarehouseConfig]:
    """The matched warehouse, whose pairs are put back afterwards."""
    with connect("ingest", matched) as conn:
        conn.execute("create table matching.kept as select * from matching.person_pair")
        conn.execute("create table matching.kept_run as select * from matching.run")
    yield matched
    with connect("ingest", matched) as conn:
        conn.execute("delete from matching.person_pair")
        conn.execute("insert into matching.person_pair select * from matching.kept")
        conn.execute("delete from matching.run where run_id not in (select run_id from matching.kept_run)")
        conn.execute("drop table matching.kept, matching.kept_run")
        conn.execute("truncate landing.match_review")


def test_nearly_all_damaged_numbers_are_matched_nobody_wrongly_and_the_rest_waits(
    matched: WarehouseConfig, province: Province, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {str(left): str(right) for left, right in _pairs(matched, "matched")}
    held = {(str(left), str(right)) for left, right in _pairs(matched, "review")}
    outcome: Counter[tuple[str, str]] = Counter()
    for left, (right, kind) in province.truth.items():
        outcome[kind, "matched" if found.get(left) == right else "held" if (left, right) in held else "lost"] += 1
    right_ones = sum(province.truth.get(left, ("", ""))[0] == right for left, right in found.items())
    # of all children of the list who are on a roll, by number or not
    on_roll = {row["person_token"] for row in province.pupils}
    same = sum(row["person_token"] in on_roll for row in province.poor)
    precision = right_ones / len(found)
    of_damaged = right_ones / len(province.truth)
    recall = (right_ones + same) / (len(province.truth) + same)
    with capsys.disabled():
        print(f"\nmatching: {same} by number, {len(province.truth)} damaged; precision {precision:.4f},", end=" ")
        print(f"recall {recall:.4f} of all, {of_damaged:.4f} of the damaged")
        for kind in (*MATCHED, *HELD):
            counts = ", ".join(f"{what} {outcome[kind, what]}" for what in ("matched", "held", "lost"))
            print(f"  {kind}: {counts}")
    assert precision >= 0.999
    assert recall >= 0.98
    assert {kind for kind, _ in outcome} == {*MATCHED, *HELD}
    assert sum(outcome[kind, "lost"] for kind in (*MATCHED, *HELD)) <= 0.01 * len(province.truth)
    meant = sum(outcome[kind, "matched"] for kind in MATCHED)
    assert meant >= 0.98 * sum(outcome[kind, what] for kind in MATCHED for what in ("matched", "held", "lost"))
    assert not any(outcome[kind, "matched"] for kind in HELD)


def test_nothing_in_the_schema_names_anybody(matched: WarehouseConfig, province: Province) -> None:
    with connect("ingest", matched) as conn:
        rows = conn.execute(
            "select explanation_zh, (to_jsonb(p) - 'explanation_zh')::text from matching.person_pair as p"
        ).fetchall()
    words = {level.zh for comparison in load_rules().comparisons.values() for level in comparison.levels.values()}
    said = {part for chinese, _ in rows for part in str(chinese).split("，")}
    assert said
    assert said <= {*words, "可能有双胞胎"}
    rest = "\n".join(str(row[1]) for row in rows)
    assert rest.isascii()
    numbers = {identifier for kind, identifier, _ in province.vault.values() if kind == "id_number"}
    assert not numbers & set(re.findall(r"(?=(6499\d{13}[\dX]))", rest))


def test_running_again_does_nothing_and_the_same_files_give_the_same_pairs(
    unchanged: WarehouseConfig, contracts: dict[str, Contract], province: Province
) -> None:
    columns = ", status, method, score, explanation, case_number"
    before = [_pairs(unchanged, status, columns) for status in ("matched", "review")]
    assert match_persons(unchanged, contracts).years == ()
    again = match_persons(unchanged, contracts, force=True)
    assert [year.changed for year in again.years] == [0]
    # other loads, and the rows of the files in another order
    with connect("ingest", unchanged) as conn:
        conn.execute("delete from matching.person_pair")
    land(province, unchanged, loads=(2, 1), reverse=True)
    match_persons(unchanged, contracts, force=True)
    assert [_pairs(unchanged, status, columns) for status in ("matched", "review")] == before


def _decide(config: WarehouseConfig, cases: dict[str, str], on: date) -> None:
    frame = pl.DataFrame(
        {
            "review_year": [YEAR] * len(cases),
            "county_code": ["640422"] * len(cases),
            "case_number": list(cases),
            "outcome": list(cases.values()),
            "reviewed_on": [on] * len(cases),
            "load_id": [3] * len(cases),
            "source_line": list(range(len(cases))),
            "scope_key": ["x"] * len(cases),
            "record_key": [f"{on}{case}" for case in cases],
            "record_hash": ["x"] * len(cases),
        }
    )
    with connect("ingest", config) as conn:
        copy_in(conn, sql.Identifier("landing", "match_review"), frame)
    with connect("admin", config) as conn:
        _load(conn, "match_review")


def test_a_decision_matches_or_parts_a_pair_for_as_long_as_the_case_stands(
    unchanged: WarehouseConfig, contracts: dict[str, Contract]
) -> None:
    cases = {str(case): (left, right) for left, right, case in _pairs(unchanged, "review", ", case_number")}
    best = [case for case, pair in cases.items() if sum(other[0] == pair[0] for other in cases.values()) == 1]
    same, different = best[:2]
    _decide(unchanged, {same: "same_person", different: "different_person"}, date(YEAR + 1, 3, 1))
    report = match_persons(unchanged, contracts)
    assert report.years, "a decision that landed is a reason to match again"
    reviewed = [(row[0], row[1]) for row in _pairs(unchanged, "matched", ", method") if row[2] == "reviewed"]
    assert reviewed == [cases[same]]
    waiting = {str(row[2]) for row in _pairs(unchanged, "review", ", case_number")}
    assert waiting == set(cases) - {same, different}
    # the officer thinks again: the latest word counts
    _decide(unchanged, {different: "same_person", same: "different_person"}, date(YEAR + 1, 4, 1))
    match_persons(unchanged, contracts)
    reviewed = [(row[0], row[1]) for row in _pairs(unchanged, "matched", ", method") if row[2] == "reviewed"]
    assert reviewed == [cases[different]]


def test_what_a_pair_was_at_an_earlier_load_stays_on_record(
    unchanged: WarehouseConfig, contracts: dict[str, Contract]
) -> None:
    cases = [str(case) for _, _, case in _pairs(unchanged, "review", ", case_number")]
    with connect("ingest", unchanged) as conn:
        row = conn.execute("select max(load_id) from ledger.load").fetchone()
    before = int(str(row[0])) if row else 0
    with connect("ingest", unchanged) as conn:
        conn.execute("update matching.person_pair set load_id = %s", (before - 1,))
    _decide(unchanged, {cases[0]: "different_person"}, date(YEAR + 1, 3, 1))
    match_persons(unchanged, contracts)
    with connect("ingest", unchanged) as conn:
        rows = conn.execute(
            "select ended_load_id is null, ended_load_id > %s from matching.person_pair where case_number = %s",
            (before, cases[0]),
        ).fetchall()
    assert rows == [(False, True)]


# --- pools by hand ------------------------------------------------------------------------------------------------


def _person(token: str, name: str, birth: date = date(2008, 3, 5), **other: object) -> dict[str, object]:
    return {
        "person_token": token, "feed": "x", "birth": birth, "sex": "1", "place": "640422101201", "guardian": None,
        "is_twin": False, "load_id": 1, "number": None, "name": name, **other,
    }  # fmt: skip


def _match(left: list[dict[str, object]], right: list[dict[str, object]], kin: list[Pair]) -> dict[Pair, str]:
    def pool(rows: list[dict[str, object]], filling: int) -> pl.DataFrame:
        # other pupils, so that a name is as rare as in a county
        strangers = [_person(f"s{n}", f"路人{n}", date(2001, 1, 1), place="640500000000") for n in range(filling)]
        known = _person("x", "x", guardian="g", number="n")
        return pl.DataFrame([known, *rows, *strangers], infer_schema_length=None)[1:].with_columns(
            name_key=name_key("name"), county=pl.col("place").str.slice(0, 6), village=pl.col("place")
        )

    pools = Pools(
        pool(left, 0), pool(right, 20000), pl.DataFrame(kin, schema=["person_token", "kin"], orient="row")
        if kin else pl.DataFrame(schema={"person_token": pl.String, "kin": pl.String}),
    )  # fmt: skip
    done, _ = match_pools(pools, NO_DECISION, load_rules())
    return {(row[0], row[1]): row[2] for row in done.select("poor_person_token", "pupil_person_token", "status").rows()}


def test_twins_are_told_apart_by_name_and_never_merged() -> None:
    twins = {"guardian": "g", "is_twin": True}
    # both numbers missing on the list: each to its own
    found = _match(
        [_person("a", "马小红", is_twin=True), _person("b", "马小明", is_twin=True)],
        [_person("A", "马小红", **twins), _person("B", "马小明", **twins)],
        [("a", "g"), ("b", "g")],
    )
    assert {pair for pair, status in found.items() if status == "matched"} == {("a", "A"), ("b", "B")}
    # only the other twin is there: an officer may look, nobody is merged
    alone = _match([_person("a", "马小红", is_twin=True)], [_person("B", "马小明", **twins)], [("a", "g")])
    assert "matched" not in alone.values()
    # an only child with one character mistyped is taken for the same
    only = _match([_person("a", "马小红")], [_person("B", "马小洪", guardian="g")], [("a", "g")])
    assert only == {("a", "B"): "matched"}


def test_namesakes_and_siblings_are_other_people() -> None:
    elsewhere = _match([_person("a", "马小红")], [_person("A", "马小红", place="640522101201")], [])
    assert elsewhere.get(("a", "A")) != "matched"
    two_there = _match([_person("a", "马小红")], [_person("A", "马小红"), _person("B", "马小红")], [])
    assert set(two_there.values()) == {"review"}, "no clear margin between two of one name and birth date"
    sibling = _match([_person("a", "马小红")], [_person("A", "马小明", date(2010, 7, 9), guardian="g")], [("a", "g")])
    assert sibling == {}
    other_number = _match(
        [_person("a", "马小红", number="649902200803050011")], [_person("A", "马小红", number="64990520080305773X")], []
    )
    assert other_number == {("a", "A"): "review"}, "two valid numbers that are not near: the village is not enough"
    vouched = _match(
        [_person("a", "马小红", number="649902200803050011")],
        [_person("A", "马小红", number="64990520080305773X", guardian="g")],
        [("a", "g")],
    )
    assert vouched == {("a", "A"): "matched"}


def test_a_college_student_without_a_village_waits_for_an_officer() -> None:
    found = _match([_person("a", "马小红")], [_person("A", "马小红", place=None)], [])
    assert found == {("a", "A"): "review"}


def test_names_are_compared_as_they_are_written_and_as_they_were_garbled() -> None:
    written = pl.DataFrame(
        {"n": ["阿依舍·哈山", "阿依舍•哈山", "阿依舍．哈山", "阿依舍 哈山", "阿依舍哈山", "阿依舍・哈山"]}
    )
    assert written.select(name_key("n")).to_series().unique().to_list() == ["阿依舍哈山"]
    left = pl.Series(["马小红", "马小红", "马小红", "马小红", "马\U00020087", "马红", "马", None])
    right = pl.Series(["马小洪", "马小", "马红", "马大洪", "马\u4dae", "红马", "王", "马小红"])
    assert one_character_off(left, right).tolist() == [True, True, True, False, True, False, False, False]
    garbled = pl.DataFrame({"n": ["马小〓", "马?红", "马{龙天}", "马小红", "???"]}).select(name_key("n")).to_series()
    clear = pl.Series(["马小红", "马小红", "马䶮", "马小红", "马小红"])
    assert fits_but_unreadable(garbled, clear).tolist() == [True, True, True, False, False]
    digits = pl.Series(["20080305", "20080305", "20080305", "2008"])
    one, crossed = digits_off(digits, pl.Series(["20080405", "20080350", "20080416", "2008"]), 8)
    assert (one.tolist(), crossed.tolist()) == ([True, False, False, False], [False, True, False, False])


def test_rules_that_contradict_themselves_or_a_contract_are_refused(contracts: dict[str, Contract]) -> None:
    text = RULES_FILE.read_text(encoding="utf-8")
    for old, new, message in (
        ("kind: area", "kind: arae", "place: no kind 'arae'"),
        (
            "guardian: [agrees]\n      id_number",
            "guardian: [agreed]\n      id_number",
            "guardian has no level 'agreed'",
        ),
        ("accept: 0.99", "accept: 0.4", "review must not lie above accept"),
        ("m: 0.998", "m: 1.998", "between 0 and 1"),
        ("- [birth, sex, county]", "- [birth, sex, shire]", "no key 'shire'"),
        ("- [kin]", "- [kin, sex]", "kin stands alone"),
        ("method: name_birth_village", "method: guess", "no method 'guess'"),
    ):
        assert old in text
        with pytest.raises(MatchingError, match=message):
            read_rules(text.replace(old, new, 1))
    rules = load_rules()
    check_against(rules, contracts)
    with pytest.raises(MatchingError, match="feed poor_person lands no column 'village'"):
        check_against(dataclasses.replace(rules, left=dataclasses.replace(rules.left, place="village")), contracts)


def test_other_rules_are_another_engine() -> None:
    text = Path(RULES_FILE).read_text(encoding="utf-8")
    assert read_rules(text.replace("margin_bits: 6", "margin_bits: 7")).version != load_rules().version
    assert read_rules(text).version == load_rules().version
    assert case_number("a", "b") != case_number("b", "a")


def test_the_command_line_counts_and_explains_without_a_personal_value(
    matched: WarehouseConfig, province: Province
) -> None:
    environment = {"EDUPA_HOME": str(matched.home), "EDUPA_SECRETS_DIR": str(matched.secrets_dir)}

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["match", *words], env=environment)
        assert done.exit_code == 0, done.output
        return done.output

    said("run")
    counts = said("status")
    assert re.search(rf"{YEAR} +matched +name_birth_guardian +\d+ +\d+", counts)
    assert re.search(rf"{YEAR} +review +name_birth_village +\d+ +\d+", counts)
    assert "nothing landed since the last run" in said("run")
    for left, right, case in _pairs(matched, "review", ", case_number")[:3]:
        why = said("explain", str(case).lower())
        assert "待核查" in why
        assert "probability 0." in why
        assert str(left) not in why
        assert str(right) not in why
        assert province.vault[str(left)][2] not in why
    unknown = CliRunner().invoke(app, ["match", "explain", "0" * 16], env=environment)
    assert unknown.exit_code == 1


# --- the sample province, loaded as files are ----------------------------------------------------------------------


def test_a_year_with_nobody_left_over_on_one_side_or_on_both_has_no_pairs(
    empty: WarehouseConfig, contracts: dict[str, Contract]
) -> None:
    assert _match([_person("a", "马小红")], [], []) == {}
    assert _match([], [_person("A", "马小红")], []) == {}
    with connect("admin", empty) as conn:
        conn.execute("truncate matching.person_pair, matching.run")
    assert match_persons(empty, contracts).years == ()
    lonely = make_province(seed=1, poor=5, others=0, damaged_share=0)
    lonely.pupils = lonely.pupils[:1]
    land(lonely, empty)
    (year,) = match_persons(empty, contracts, force=True).years
    assert (year.matched, year.review) == (0, 0)


def test_the_sample_province_with_damaged_numbers_is_matched_from_its_files(
    empty: WarehouseConfig, contracts: dict[str, Contract], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(root, scale=0.01, years=(2020, 2020), damaged_id_share=0.03)
    for feed in ("admin_area", "area_succession", "school", "poor_household", "poor_person", "pupil"):
        assert not ingest.load_feed(feed, root, contracts, empty).rejections
    with connect("admin", empty) as conn:
        conn.execute("truncate matching.person_pair, matching.run")
    match_persons(empty, contracts)
    token = ingest.read_token_key(empty).token
    with connect("transform", empty) as conn:
        rows = conn.execute("select county_code, person_number, person_token from landing.poor_person").fetchall()
        listed = {(county, number): person for county, number, person in rows}
        rolls = dict(conn.execute("select student_number_token, person_token from landing.pupil").fetchall())
    found, held = (set(_pairs(empty, status)) for status in ("matched", "review"))
    truth: dict[str, list[tuple[object, object]]] = {}
    with (root / ".truth" / "person_match.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            person = listed[row["county_code"], row["person_number"]]
            if row["on_roll"] == "1":
                truth.setdefault(row["damage"], []).append((person, rolls[token(row["student_number"])]))
    undamaged = truth.pop("none")
    assert all(left == right for left, right in undamaged)
    wanted = {pair for pairs in truth.values() for pair in pairs}
    with capsys.disabled():
        print(
            f"\nsample province, 3 % damaged: {len(undamaged)} by number; {len(wanted & found)} of {len(wanted)}",
            end=" ",
        )
        print(f"damaged matched, {len(found - wanted)} wrongly, {len((wanted - found) & held)} held", end="; ")
        print(", ".join(f"{kind} {len(set(pairs) & found)}/{len(pairs)}" for kind, pairs in sorted(truth.items())))
    assert set(truth) == {"no_number", "wrong_number", "register_without_number"}
    assert len(found & wanted) >= 0.999 * len(found)
    assert len(found & wanted) >= 0.98 * len(wanted)
    assert wanted - found <= held
