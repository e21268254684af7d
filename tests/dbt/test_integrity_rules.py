"""The integrity rules: every planted case of the sample province is a lead, and nothing else is."""

from __future__ import annotations

import csv
import re

from tests.dbt.conftest import PROJECT, Dbt

THRESHOLD = re.compile(r"threshold\('(\w+)', '(\w+)'\)")


def seed(name: str) -> list[dict[str, str]]:
    """Rows of a seed."""
    with (PROJECT / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_thresholds_are_data_and_all_are_used() -> None:
    """A name that the seed does not have would silence its rule; one that no model reads changes nothing."""
    used = {
        (str(match[1]), str(match[2]))
        for path in (PROJECT / "models" / "indicators" / "integrity").glob("*.sql")
        for match in THRESHOLD.finditer(path.read_text(encoding="utf-8"))
    }
    assert used == {(row["rule_code"], row["threshold_code"]) for row in seed("integrity_thresholds")}


def test_rules_are_complete_and_name_feeds_that_exist(offline_dbt: Dbt) -> None:
    rules = seed("integrity_rules")
    assert [row["rule_code"] for row in rules] == [f"I{number:02}" for number in range(1, 23)]
    known = {s["name"] for s in offline_dbt.manifest()["sources"].values() if s["schema"] == "landing"}
    for row in rules:
        needed = {feed for column in ("needs_feeds", "needs_region_feeds") for feed in row[column].split(";") if feed}
        assert needed, row["rule_code"]
        # a rule can be checked exactly where every feed that it needs is taken in
        assert (needed <= known) == (row["is_measurable"] == "true"), row["rule_code"]
