"""Suites as data: one YAML file per gated table, read, filled in and checked here.

No feed, county or column is known to this module. Texts and SQL carry ``{placeholders}``; they are filled, in
this order of precedence, from the expectation's ``with``, the suite's ``parameters``, the feed's contract (periods
and owner), the parameters and SQL fragments of ``suites/gate.yaml``, and the facts of the run (schema names,
evaluation year). ``{batch}`` is left to Great Expectations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

Boundary = Literal["arrival", "candidate"]
Severity = Literal["block", "warn"]

SUITES = Path(__file__).parent / "suites"
CONTRACTS = Path(__file__).parent.parent / "ingest" / "contracts"

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_LEFT_TO_GX = frozenset({"batch"})
# a placeholder may lead to another one; deeper than this it leads to itself
_DEPTH = 12


class SuiteError(ValueError):
    """A suite file does not say what it must; the message names file, expectation and field."""


@dataclass(frozen=True)
class Text:
    """One statement in both languages."""

    zh: str
    en: str


@dataclass(frozen=True)
class Expectation:
    """One rule of a suite.

    Attributes:
        id: ``<suite>.<name>``, unique over all suites of both boundaries.
        type: class name in ``great_expectations.expectations``.
        arguments: its keyword arguments.
        severity: what a failure means for the decision.
        waivable: whether a failure may be waived at all; false for identity, disclosure and control totals.
        owner: who has to act.
        what: the rule, as a statement that should be true.
        why: what goes wrong when it is not.
        how_to_fix: what the owner does.
        where: SQL condition that holds for the batch's rows at fault; None: derived from the arguments.
        count: SQL aggregate over the rows at fault: how many (rows, people, files) are affected.
        observed: SQL aggregate over the rows at fault: figures worth showing; never a value of a person.
        seeded_defect: SQL statements that make exactly this expectation fail on sound data.
        also_trips: ids that the same defect makes fail as well, because they watch the same thing.
    """

    id: str
    type: str
    arguments: Mapping[str, Any]
    severity: Severity
    waivable: bool
    owner: Text
    what: Text
    why: Text
    how_to_fix: Text
    where: str | None
    count: str
    observed: str | None
    seeded_defect: tuple[str, ...]
    also_trips: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """All rules about one table.

    Attributes:
        name: file stem.
        boundary: where it is asked.
        title: the table, for people.
        tables: qualified tables that must exist before anything can be asked.
        query: SQL of the batch; None: the table itself is the batch.
        table: (schema, table) of the batch where there is no query.
        place: SQL expression on the batch: county or area code.
        time: SQL expression on the batch: period.
        every_county: whether each county that it speaks of must be there in every period.
        expectations: the rules, in file order.
    """

    name: str
    boundary: Boundary
    title: Text
    tables: tuple[str, ...]
    query: str | None
    table: tuple[str, str] | None
    place: str
    time: str
    every_county: bool
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True)
class GatePolicy:
    """What a failure means by where it happened, and what people may do about a gate's word.

    Attributes:
        plan_counties: severity of a blocking rule that failed in a plan county; ``block``, always: eight of nine are
            never published silently.
        other_counties: the same in no county but others.
        waiver_days: longest life of a waiver, days; 0: none may be given.
        approval_days: life of an approval of a candidate, days; 0: none may be given.
    """

    plan_counties: Severity
    other_counties: Severity
    waiver_days: int
    approval_days: int


@dataclass(frozen=True)
class BoundaryRules:
    """What a boundary needs beside its suites.

    Attributes:
        title: of the page.
        subject: schema looked at.
        subject_hash: SQL, one row, one text: content hash of what is judged.
        area_names: SQL: area_code, area_name.
        counties: SQL: area_code, area_name, whether the plan names it, of every county.
        consequence: decision -> what follows from it.
        policy: what a failure means by where it happened, and what people may do about the decision.
    """

    title: Text
    subject: str
    subject_hash: str
    area_names: str
    counties: str
    consequence: Mapping[str, Text]
    policy: GatePolicy


# libyaml's loader where the wheel has it: ten times faster, and the suites are read by every gate
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", "syntax")
        raise SuiteError(f"{path.name}{line}: not readable as YAML: {problem}") from error
    if not isinstance(content, dict):
        raise SuiteError(f"{path.name}: expected a mapping")
    return content


def fill(text: str, values: Mapping[str, Any], where: str) -> str:
    """Replace every ``{placeholder}`` of a text.

    Args:
        text: SQL or words.
        values: placeholder -> value; a value may hold placeholders itself.
        where: named in the error.

    Raises:
        SuiteError: a placeholder is unknown or leads back to itself.
    """

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in _LEFT_TO_GX:
            return match.group(0)
        if name not in values:
            raise SuiteError(f"{where}: unknown placeholder {{{name}}}")
        return str(values[name]).strip()

    for _ in range(_DEPTH):
        filled = _PLACEHOLDER.sub(one, text)
        if filled == text:
            return filled
        text = filled
    raise SuiteError(f"{where}: placeholders lead back to themselves")


def _fill_all(value: Any, values: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, str):
        whole = _PLACEHOLDER.fullmatch(value.strip())
        if whole and whole.group(1) in values and not isinstance(values[whole.group(1)], str):
            # a placeholder alone keeps the type of its value: numbers and lists stay what they are
            return values[whole.group(1)]
        return fill(value, values, where)
    if isinstance(value, list):
        return [_fill_all(item, values, where) for item in value]
    if isinstance(value, dict):
        return {key: _fill_all(item, values, where) for key, item in value.items()}
    return value


def _text(value: Any, values: Mapping[str, Any], where: str) -> Text:
    if not isinstance(value, dict) or set(value) != {"zh", "en"}:
        # an unquoted comma in {zh: …, en: …} would make a third key and cut the text short
        raise SuiteError(f"{where}: needs exactly zh and en; quote a text with a comma")
    zh, en = (fill(str(value[language]), values, where).strip() for language in ("zh", "en"))
    text = Text(zh=zh, en=en)
    if not text.zh or not text.en:
        raise SuiteError(f"{where}: zh or en is empty")
    return text


def _need(entry: Mapping[str, Any], field: str, where: str) -> Any:
    if field not in entry or entry[field] in (None, ""):
        raise SuiteError(f"{where}: field {field!r} is missing")
    return entry[field]


def _statements(value: Any, values: Mapping[str, Any], where: str) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(fill(str(statement), values, where) for statement in listed)


def _expectation(
    entry: Mapping[str, Any],
    *,
    templates: Mapping[str, Any],
    values: Mapping[str, Any],
    suite_owner: Any,
    suite_name: str,
    source: str,
) -> Expectation:
    where = f"{source}, expectation {entry.get('id', '(without id)')}"
    base: dict[str, Any] = {}
    if template := entry.get("use"):
        if template not in templates:
            raise SuiteError(f"{where}: unknown template {template!r}")
        base = dict(templates[template])
    merged = {**base, **entry}
    known = {**values, **(base.get("with") or {}), **(entry.get("with") or {})}
    expectation_id = str(_need(merged, "id", where))
    if not expectation_id.startswith(f"{suite_name}."):
        raise SuiteError(f"{where}: the id must start with {suite_name!r} and a dot")
    severity = _need(merged, "severity", where)
    if severity not in ("block", "warn"):
        raise SuiteError(f"{where}: severity is {severity!r}, not block or warn")
    waivable = merged.get("waivable", True)
    if not isinstance(waivable, bool):
        # a quoted "false" is true to Python: it must not open what was meant to stay shut
        raise SuiteError(f"{where}: waivable is {waivable!r}, not true or false")
    condition, observed = merged.get("where"), merged.get("observed")
    return Expectation(
        id=expectation_id,
        type=str(_need(merged, "type", where)),
        arguments=_fill_all(_need(merged, "arguments", where), known, f"{where}, arguments"),
        severity=severity,
        waivable=waivable,
        owner=_text(merged.get("owner", suite_owner), known, f"{where}, owner"),
        what=_text(_need(merged, "what", where), known, f"{where}, what"),
        why=_text(_need(merged, "why", where), known, f"{where}, why"),
        how_to_fix=_text(_need(merged, "how_to_fix", where), known, f"{where}, how_to_fix"),
        where=fill(str(condition), known, f"{where}, where") if condition else None,
        count=fill(str(merged.get("count", "count(*)")), known, f"{where}, count"),
        observed=fill(str(observed), known, f"{where}, observed") if observed else None,
        seeded_defect=_statements(_need(merged, "seeded_defect", where), known, f"{where}, seeded_defect"),
        also_trips=tuple(str(other) for other in merged.get("also_trips") or ()),
    )


def contract_facts(contract: str, evaluation_year: int, folder: Path = CONTRACTS) -> dict[str, Any]:
    """What a feed's ODCS contract says about periods and owner.

    Args:
        contract: its id, which is the stem of its file.
        evaluation_year: later periods are not asked for.
        folder: where the contracts lie.

    Returns:
        ``first_year`` and ``last_year`` (both included) of the periods that must have been delivered, and ``owner``
        in both languages. A feed that may be absent has no first year.

    Raises:
        SuiteError: no such contract, or it says nothing about its team.
    """
    path = folder / f"{contract}.odcs.yaml"
    if not path.exists():
        raise SuiteError(f"contract {contract!r} not found: expected {path}")
    content = _load(path)
    properties = {entry["property"]: entry.get("value") for entry in content.get("customProperties") or []}
    expected = properties.get("expected")
    team = str((content.get("team") or {}).get("description") or "")
    owner_zh, _, owner_en = team.partition(" | ")
    if not owner_en:
        raise SuiteError(f"{path.name}: needs a team description 'zh | en'")
    owner = {"zh": owner_zh, "en": owner_en}
    if not expected:
        return {"last_year": evaluation_year, "owner": owner}
    return {
        "first_year": min(int(entry["firstPeriod"]) for entry in expected),
        "last_year": min(evaluation_year, max(int(entry["lastPeriod"]) for entry in expected)),
        "owner": owner,
    }


def _suite(path: Path, boundary: Boundary, shared: Mapping[str, Any], facts: Mapping[str, Any]) -> Suite:
    content = _load(path)
    source = f"{boundary}/{path.name}"
    name = path.stem
    contract: dict[str, Any] = {}
    if contract_id := content.get("contract"):
        contract = contract_facts(str(contract_id), int(facts["evaluation_year"]))
    values = {
        **facts,
        **(shared.get("fragments") or {}),
        **(shared.get("parameters") or {}),
        **contract,
        **(content.get("parameters") or {}),
        "suite": name,
    }
    batch = _need(content, "batch", source)
    query = fill(str(batch["query"]), values, f"{source}, batch") if "query" in batch else None
    table: tuple[str, str] | None = None
    if query is None:
        qualified = fill(str(_need(batch, "table", f"{source}, batch")), values, source)
        schema, _, relation = qualified.partition(".")
        table = (schema, relation)
    owner = content.get("owner") or contract.get("owner") or _need(content, "owner", source)
    entries = _need(content, "expectations", source)
    return Suite(
        name=name,
        boundary=boundary,
        title=_text(_need(content, "title", source), values, f"{source}, title"),
        tables=tuple(fill(str(table), values, source) for table in _need(content, "tables", source)),
        query=query,
        table=table,
        place=fill(str(content.get("place", "county_code")), values, source),
        time=fill(str(content.get("time", "period")), values, source),
        every_county=content.get("every_county", True) is not False,
        expectations=tuple(
            _expectation(
                entry,
                templates=shared.get("templates") or {},
                values={"title_zh": content["title"]["zh"], "title_en": content["title"]["en"], **values},
                suite_owner=owner,
                suite_name=name,
                source=source,
            )
            for entry in entries
        ),
    )


def _policy(shared: Mapping[str, Any]) -> GatePolicy:
    said = shared.get("policy") or {}
    for field in ("waiver_days", "approval_days"):
        if type(said.get(field)) is not int or said[field] < 0:
            raise SuiteError(f"gate.yaml, policy: {field} is {said.get(field)!r}, not a number of days")
    for field in ("plan_counties", "other_counties"):
        if said.get(field) not in ("block", "warn"):
            raise SuiteError(f"gate.yaml, policy: {field} is {said.get(field)!r}, not block or warn")
    if said["plan_counties"] != "block":
        raise SuiteError("gate.yaml, policy: a plan county always blocks; let single failures pass by a waiver")
    return GatePolicy(**{field: said[field] for field in GatePolicy.__dataclass_fields__})


def load_suites(
    boundary: Boundary, facts: Mapping[str, Any], folder: Path = SUITES
) -> tuple[BoundaryRules, tuple[Suite, ...]]:
    """Read all suites of a boundary.

    Args:
        boundary: ``arrival`` or ``candidate``.
        facts: placeholders of the run: schema names and ``evaluation_year``.
        folder: where gate.yaml and one folder per boundary lie.

    Returns:
        Rules of the boundary, and its suites in file-name order.

    Raises:
        SuiteError: a file is unreadable, a field is missing, an id is used twice, or there is no suite.
    """
    shared = _load(folder / "gate.yaml")
    values = {**facts, **(shared.get("fragments") or {}), **(shared.get("parameters") or {})}
    rules = (shared.get("boundaries") or {}).get(boundary)
    if not rules:
        raise SuiteError(f"gate.yaml: nothing about boundary {boundary!r}")
    where = f"gate.yaml, {boundary}"
    paths = sorted((folder / boundary).glob("*.yaml"))
    if not paths:
        raise SuiteError(f"no suite for boundary {boundary!r}: a gate without rules lets everything through")
    suites = tuple(_suite(path, boundary, shared, facts) for path in paths)
    seen: set[str] = set()
    for suite in suites:
        for expectation in suite.expectations:
            if expectation.id in seen:
                raise SuiteError(f"{boundary}/{suite.name}.yaml: id {expectation.id!r} is used twice")
            seen.add(expectation.id)
    return (
        BoundaryRules(
            title=_text(_need(rules, "title", where), values, where),
            subject=fill(str(_need(rules, "subject", where)), values, where),
            subject_hash=fill(str(_need(rules, "subject_hash", where)), values, where),
            area_names=fill(str(_need(rules, "area_names", where)), values, where),
            counties=fill(str(_need(rules, "counties", where)), values, where),
            policy=_policy(shared),
            consequence={
                decision: _text(_need(rules["consequence"], decision, where), values, where)
                for decision in ("pass", "warn", "block")
            },
        ),
        suites,
    )
