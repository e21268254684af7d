"""Rules that every model, macro and seed keeps, read from the manifest."""

from __future__ import annotations

import csv
import re
from typing import Any

import pytest

from tests.dbt.conftest import PROJECT, Dbt

LABEL = re.compile(r"^[^—]*[\u4e00-\u9fff][^—]* — .*\S")
PERSONAL = re.compile(
    r"\b(id_number|pupil_name|person_name|child_name|head_name|guardian_name|certificate_number|student_number"
    r"|guardian_id_number|head_id_number|identifier|vault)\b"
)
ENGINE_ONLY = re.compile(
    r"distinct\s+on|generate_series|\bto_char\(|\bto_date\(|\bavg\(|::|string_agg|array_agg|regexp_|\bilike\b"
    r"| ~ |\bnow\(\)"
    r"|current_date|current_timestamp|\bmd5\(|\bunnest\(|as numeric\)|double precision|timestamptz"
)
GEOGRAPHY = re.compile(r"'64\d*'|'PLAN9'|'PRI4'|'OTH5'")


def without_comments(code: str) -> str:
    """SQL without comments and without Jinja comments."""
    return re.sub(r"\{#.*?#\}", "", re.sub(r"--[^\n]*", "", code), flags=re.S)


@pytest.fixture(scope="module")
def nodes(offline_dbt: Dbt) -> list[dict[str, Any]]:
    """Every node of the project."""
    return [n for n in offline_dbt.manifest()["nodes"].values() if n["package_name"] == "edupa"]


@pytest.fixture(scope="module")
def models(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every model of the project."""
    found = [n for n in nodes if n["resource_type"] == "model"]
    assert len(found) > 40
    return found


def broken(models: list[dict[str, Any]], rule: Any) -> list[str]:
    """Names of the models that break a rule."""
    return [m["name"] for m in models if not rule(m)]


def test_every_model_opens_with_its_grain(models: list[dict[str, Any]]) -> None:
    assert broken(models, lambda m: m["raw_code"].startswith("-- grain: one row per ")) == []


def test_every_model_ends_with_final(models: list[dict[str, Any]]) -> None:
    assert broken(models, lambda m: m["raw_code"].rstrip().endswith("select * from final")) == []


def test_every_model_has_a_label_in_both_languages(models: list[dict[str, Any]]) -> None:
    assert broken(models, lambda m: LABEL.match(m["description"]) and "grain: " in m["description"]) == []


def test_every_model_has_an_enforced_contract(models: list[dict[str, Any]]) -> None:
    assert broken(models, lambda m: m["contract"]["enforced"]) == []


def test_every_column_is_typed_and_documented(models: list[dict[str, Any]]) -> None:
    bad = [
        f"{m['name']}.{c['name']}"
        for m in models
        for c in m["columns"].values()
        if not c["data_type"] or not LABEL.match(c["description"])
    ]
    assert bad == []


def test_every_model_has_a_key(models: list[dict[str, Any]], nodes: list[dict[str, Any]]) -> None:
    tested = {
        n["attached_node"]
        for n in nodes
        if n["resource_type"] == "test" and n["test_metadata"]["name"] in ("unique", "unique_combination")
    }

    def has_key(model: dict[str, Any]) -> bool:
        declared = any(c["type"] == "primary_key" for c in model["constraints"])
        return declared if model["config"]["materialized"] == "table" else model["unique_id"] in tested

    assert broken(models, has_key) == []


def test_every_decimal_says_its_precision(models: list[dict[str, Any]]) -> None:
    types = {c["data_type"] for m in models for c in m["columns"].values()}
    assert [t for t in types if t.startswith("numeric") and not re.fullmatch(r"numeric\(\d+,\d+\)", t)] == []
    assert types <= {t for t in types if t.startswith("numeric(")} | {
        "string", "integer", "bigint", "date", "boolean", "bigint[]",
    }  # fmt: skip


def test_keys_stand_first_in_core(models: list[dict[str, Any]]) -> None:
    def keys_first(model: dict[str, Any]) -> bool:
        is_key = [name.endswith("_key") for name in model["columns"]]
        return is_key == sorted(is_key, reverse=True)

    assert broken([m for m in models if m["fqn"][1] == "core"], keys_first) == []


def test_every_fact_of_core_carries_its_load(models: list[dict[str, Any]]) -> None:
    facts = [m for m in models if m["fqn"][1] == "core" and m["name"].startswith("fct_")]
    assert len(facts) >= 7
    assert broken(facts, lambda m: "load_id" in m["columns"]) == []


def test_marts_hold_nothing_that_differs_between_two_databases(models: list[dict[str, Any]]) -> None:
    marts = [m for m in models if m["fqn"][1] == "marts"]
    assert {m["name"] for m in marts} == {
        "county_evaluation", "county_evaluation_wide", "indicator_dictionary", "evaluation_source",
        "student_aid_county", "funds_integrity", "fund_execution",
    }  # fmt: skip
    assert broken(marts, lambda m: not any("load" in c or c.endswith(("_at", "_key")) for c in m["columns"])) == []


def test_engine_differences_stay_in_compat(offline_dbt: Dbt, models: list[dict[str, Any]]) -> None:
    manifest = offline_dbt.manifest()
    macros = [
        m
        for m in manifest["macros"].values()
        if m["package_name"] == "edupa" and not m["original_file_path"].startswith("macros/compat/")
    ]
    texts = {m["name"]: without_comments(m["raw_code"]) for m in models}
    texts |= {m["unique_id"]: without_comments(m["macro_sql"]) for m in macros}
    assert [name for name, text in texts.items() if "target.type" in text] == []
    found = {name: match.group() for name, text in texts.items() if (match := ENGINE_ONLY.search(text))}
    assert found == {}


def test_no_place_is_named_in_sql(models: list[dict[str, Any]]) -> None:
    assert broken(models, lambda m: not GEOGRAPHY.search(m["raw_code"])) == []


def test_no_model_reads_names_or_id_numbers(offline_dbt: Dbt, models: list[dict[str, Any]]) -> None:
    def is_clean(model: dict[str, Any]) -> bool:
        # 'id_number' in quotes is a value of token_basis, not a column
        return not PERSONAL.search(without_comments(model["raw_code"]).replace("'id_number'", ""))

    assert broken(models, is_clean) == []
    sources = {s["schema"] for s in offline_dbt.manifest()["sources"].values()}
    assert sources == {"landing", "ledger", "disclosure", "matching"}


def test_identifiers_are_plain(models: list[dict[str, Any]]) -> None:
    names = [m["name"] for m in models] + [c for m in models for c in m["columns"]]
    assert [n for n in names if not re.fullmatch(r"[a-z][a-z0-9_]*", n) or len(n) > 50] == []


def test_every_seed_column_is_typed_and_documented(nodes: list[dict[str, Any]]) -> None:
    seeds = [n for n in nodes if n["resource_type"] == "seed"]
    assert len(seeds) >= 12
    for seed in seeds:
        with (PROJECT / seed["original_file_path"]).open(encoding="utf-8", newline="") as handle:
            header = next(csv.reader(handle))
        assert list(seed["config"]["column_types"]) == header, seed["name"]
        assert [c for c in header if not LABEL.match(seed["columns"][c]["description"])] == [], seed["name"]
        assert LABEL.match(seed["description"]), seed["name"]


def test_every_mart_is_exposed(offline_dbt: Dbt, models: list[dict[str, Any]]) -> None:
    exposed = {d for e in offline_dbt.manifest()["exposures"].values() for d in e["depends_on"]["nodes"]}
    assert {m["unique_id"] for m in models if m["fqn"][1] == "marts"} <= exposed


def test_every_own_generic_test_says_what_when_and_how(offline_dbt: Dbt) -> None:
    texts = [p.read_text(encoding="utf-8") for p in sorted((PROJECT / "tests" / "generic").glob("*.sql"))]
    assert len(texts) >= 5
    for text in texts:
        assert "What:" in text
        assert "When it matters:" in text
        assert "How to resolve:" in text


def test_landing_and_ledger_are_read_as_known_and_only_by_staging(models: list[dict[str, Any]]) -> None:
    def sources(model: dict[str, Any]) -> set[str]:
        # decisions of the plan of protection are no data from outside: the marts apply them
        found = {d for d in model["depends_on"]["nodes"] if d.startswith("source.")}
        return {d for d in found if not d.startswith("source.edupa.disclosure.")}

    readers = [m for m in models if sources(m)]
    assert {m["fqn"][1] for m in readers} == {"staging"}
    assert {m["name"] for m in readers} == {m["name"] for m in models if m["fqn"][1] == "staging"}
    macros = {"macro.edupa.known_versions", "macro.edupa.known_loads"}
    assert broken(readers, lambda m: macros & set(m["depends_on"]["macros"])) == []
    assert broken(readers, lambda m: "ended_load_id" not in m["raw_code"]) == []
