"""Contracts: one ODCS v3 YAML per feed, parsed with the standard's own model, compiled to what ingest works with.

What ODCS has a field for is taken from that field (name, businessName, logicalType, physicalType, required,
primaryKey, classification, logicalTypeOptions, quality); the rest are ``customProperties``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import yaml
from open_data_contract_standard.model import CustomProperty, OpenDataContractStandard, SchemaProperty
from pydantic import ValidationError

from ingest.codelists import CodeList, CodeListError, load_code_lists, spelling
from ingest.values import NORMALIZERS, NULL_WORDS
from warehouse.config import PROJECT_ROOT

FOLDER = Path(__file__).parent / "contracts"
#: folders with contracts, separated like a search path; the built-in one must be named if it is wanted
FOLDERS_VARIABLE = "EDUPA_CONTRACTS"
#: folder of code lists beside contracts that lie elsewhere
CODE_LISTS = "codelists"
SUFFIX = ".odcs.yaml"

KINDS = ("code", "text", "integer", "decimal", "date", "boolean", "school_year", "id_number")
#: physical types that a landing table may have
PHYSICAL_TYPES = ("text", "integer", "bigint", "numeric", "date", "boolean")
#: checks against what another feed has landed (see lookups.py)
LOOKUP_CHECKS = ("listed", "not_ended")
#: bumped when the code changes what a value becomes, so that known files are read again
INGEST_VERSION = 3


class ContractError(ValueError):
    """A contract is broken; the message names file and, where known, line."""


@dataclass(frozen=True)
class Derivation:
    """A column cut out of another one: characters ``start`` to ``stop`` of its normalized value."""

    column: str
    start: int
    stop: int


@dataclass(frozen=True)
class FileFact:
    """The column must equal what the file's name says (``as_school_year``: a year n means n/n+1)."""

    fact: str
    rule: str
    as_school_year: bool = False


@dataclass(frozen=True)
class Condition:
    """Holds where ``column`` has one of ``values``; ``or_null``: also where it has none."""

    column: str
    values: tuple[str, ...]
    or_null: bool


@dataclass(frozen=True)
class Column:
    """One column of a feed, from header to landing."""

    name: str
    header: str
    aliases: tuple[str, ...]
    kind: str
    physical_type: str
    required: bool
    required_when: Condition | None
    id_when: Condition | None
    description: str
    unit: str | None
    normalizers: tuple[str, ...]
    code_list: CodeList | None
    multi: bool
    pattern: str | None
    minimum: int | None
    maximum: int | None
    date_minimum: object
    date_maximum: object
    month_allowed: bool
    long_number: bool
    code_length: int | None
    null_words: frozenset[str]
    test_words: tuple[str, ...]
    words: frozenset[str]
    pii: str | None
    token: str | None
    derived: Derivation | None
    file_fact: FileFact | None
    references: tuple[tuple[str, str], ...]
    reference_rule: str
    watch: dict[str, Any]
    key_position: int | None
    identifier_kind: str | None
    name_column: str | None

    @property
    def landed_name(self) -> str | None:
        """Column of the landing table; None for what goes to the vault only."""
        if self.token:
            return self.token
        return None if self.pii == "vault" else self.name

    @property
    def landed_type(self) -> str:
        """PostgreSQL type in the landing table."""
        return "text" if self.token else self.physical_type

    @property
    def is_personal(self) -> bool:
        """Whether a value identifies a person and may be shown by its shape only."""
        return self.pii is not None or self.token is not None


@dataclass(frozen=True)
class Check:
    """A cross-field check: name in checks.CHECKS, the rule it raises, the column it blames, its arguments.

    ``is_warning``: rows that break it land all the same and are named in the report.
    """

    name: str
    kind: str
    rule: str
    column: str
    arguments: dict[str, Any]
    is_warning: bool = False


@dataclass(frozen=True)
class Identity:
    """How a person's token is made where there is no ID number."""

    column: str
    token: str
    surrogate_from: tuple[str, ...]
    no_number_when: Condition | None


@dataclass(frozen=True)
class Threshold:
    """Beyond ``share`` of rows, and at least ``minimum`` of them, a broken row rule rejects the file."""

    rule: str
    share: float
    minimum: int


@dataclass(frozen=True)
class Contract:
    """A compiled contract. ``model`` is the ODCS document it came from."""

    feed: str
    version: str
    sha256: str
    path: Path
    title_zh: str
    title_en: str
    description: str
    folder: str
    stem: re.Pattern[str]
    file_pattern: re.Pattern[str]
    formats: tuple[str, ...]
    county_list: CodeList | None
    delivery: str
    scope: tuple[str, ...]
    columns: tuple[Column, ...]
    checks: tuple[Check, ...]
    identity: Identity | None
    thresholds: tuple[Threshold, ...]
    skip_any_cell: str
    skip_first_cell: str
    header_search_rows: int
    custom: dict[str, Any]
    model: OpenDataContractStandard = field(repr=False, compare=False)

    @property
    def is_draft(self) -> bool:
        """Whether nobody has vouched for it yet: nothing is loaded by a draft."""
        return bool(self.model.status == "draft")

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by canonical name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def headers(self) -> dict[str, str]:
        """Normalized header spelling -> canonical column, for columns that stand in the file."""
        return {
            spelling(text): column.name
            for column in self.columns
            if column.derived is None
            for text in (column.name, column.header, *column.aliases)
        }

    @cached_property
    def header_memo(self) -> dict[str, str | None]:
        """What headers seen before stand for."""
        return {}

    @cached_property
    def key(self) -> tuple[Column, ...]:
        """Key columns in order."""
        return tuple(
            sorted((c for c in self.columns if c.key_position is not None), key=lambda c: cast(int, c.key_position))
        )

    @cached_property
    def landed(self) -> tuple[tuple[str, str, str], ...]:
        """(name, PostgreSQL type, comment) of every landing column that the contract declares."""
        result = []
        for column in self.columns:
            if column.landed_name is None:
                continue
            unit = f" [{column.unit}]" if column.unit else ""
            origin = f"token of {column.header}: " if column.token else f"{column.header}{unit}: "
            result.append((column.landed_name, column.landed_type, origin + column.description))
        if self.identity:
            result.append(("token_basis", "text", "id_number: the token joins across feeds; surrogate: it never does"))
        return tuple(result)

    @cached_property
    def lookups(self) -> tuple[Check, ...]:
        """Checks that look into another feed."""
        return tuple(check for check in self.checks if check.kind in LOOKUP_CHECKS)

    @cached_property
    def depends_on(self) -> frozenset[str]:
        """Feeds that must be loaded first because a column refers to them or a check looks into them."""
        referred = {feed for column in self.columns for feed, _ in column.references}
        return frozenset(referred | {str(check.arguments["feed"]) for check in self.lookups})


def _line_of(text: str, name: str) -> int:
    """Line on which a property of that name starts, for error messages."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(rf"name:\s*{re.escape(name)}\b", line):
            return number
    return 1


def _custom(properties: Iterable[CustomProperty] | None) -> dict[str, Any]:
    return {str(item.property): item.value for item in properties or ()}


def compile_condition(value: dict[str, Any] | None) -> Condition | None:
    """A condition as contracts write it: ``{column, in, orNull}``; None stays None."""
    if value is None:
        return None
    return Condition(value["column"], tuple(str(v) for v in value["in"]), bool(value.get("orNull", False)))


_COLUMN_PROPERTIES = frozenset(
    [
        "kind",
        "headers",
        "normalizers",
        "codeList",
        "multi",
        "unit",
        "nullWords",
        "requiredWhen",
        "idWhen",
        "range",
        "monthAllowed",
        "longNumber",
        "codeLength",
        "testWords",
        "words",
        "derive",
        "fileFact",
        "references",
        "referenceRule",
        "watch",
        "identifierKind",
        "nameColumn",
    ]
)


def _column(prop: SchemaProperty, code_lists: dict[str, CodeList]) -> Column:
    custom = _custom(prop.customProperties)
    if unknown := set(custom) - _COLUMN_PROPERTIES:
        raise ContractError(f"unknown custom property {sorted(unknown)[0]!r}")
    kind = custom.get("kind")
    if kind not in KINDS:
        raise ContractError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if not prop.description or not prop.businessName:
        raise ContractError("businessName (the Chinese header) and description are required")
    if prop.physicalType not in PHYSICAL_TYPES:
        raise ContractError(f"physicalType must be one of {', '.join(PHYSICAL_TYPES)}, not {prop.physicalType!r}")
    code_list = None
    if name := custom.get("codeList"):
        if name not in code_lists:
            raise ContractError(f"no code list codelists/{name}.csv")
        code_list = code_lists[name]
    normalizers = tuple(custom.get("normalizers", ()))
    if missing := [name for name in normalizers if name not in NORMALIZERS]:
        raise ContractError(f"unknown normalizer {missing[0]!r}")
    classification = prop.classification or ""
    options = prop.logicalTypeOptions or {}
    bounds = custom.get("range", {})
    pattern = options.get("pattern")
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ContractError(f"pattern {pattern!r}: {error}") from None
    derive = custom.get("derive")
    fact = custom.get("fileFact")
    return Column(
        name=cast(str, prop.name),
        header=prop.businessName,
        aliases=tuple(custom.get("headers", ())),
        kind=kind,
        physical_type=prop.physicalType,
        required=bool(prop.required),
        required_when=compile_condition(custom.get("requiredWhen")),
        id_when=compile_condition(custom.get("idWhen")),
        description=prop.description,
        unit=custom.get("unit"),
        normalizers=normalizers,
        code_list=code_list,
        multi=bool(custom.get("multi", False)),
        pattern=pattern,
        minimum=options.get("minimum"),
        maximum=options.get("maximum"),
        date_minimum=bounds.get("minimum"),
        date_maximum=bounds.get("maximum"),
        month_allowed=bool(custom.get("monthAllowed", False)),
        long_number=bool(custom.get("longNumber", kind == "id_number")),
        code_length=custom.get("codeLength"),
        null_words=frozenset(spelling(word) for word in custom["nullWords"]) | {""}
        if "nullWords" in custom
        else NULL_WORDS,
        test_words=tuple(custom.get("testWords", ())),
        words=frozenset(str(word) for word in custom.get("words", ())),
        pii="vault" if classification == "vault" else None,
        token=classification.removeprefix("token:") if classification.startswith("token:") else None,
        derived=Derivation(derive["column"], int(derive["from"]), int(derive["to"])) if derive else None,
        file_fact=FileFact(fact["fact"], fact["rule"], bool(fact.get("schoolYear", False))) if fact else None,
        references=tuple((item["feed"], item["column"]) for item in custom.get("references", ())),
        reference_rule=custom.get("referenceRule", "reference.unknown_village"),
        watch=dict(custom.get("watch", {})),
        key_position=(prop.primaryKeyPosition or 0) if prop.primaryKey else None,
        identifier_kind=custom.get("identifierKind"),
        name_column=custom.get("nameColumn"),
    )


def _name_checks(columns: list[Column]) -> list[Check]:
    """No free text may hold the name of a person of its row: checked wherever a feed has names, unasked."""
    names = [column.name for column in columns if column.kind == "text" and column.is_personal]
    texts = [column.name for column in columns if column.kind == "text" and not column.is_personal]
    if not names:
        return []
    return [
        Check(f"{text}_without_name", "no_name", "text.personal", text, {"text": text, "names": names})
        for text in texts
    ]


def _canonical_sha256(document: object, code_lists: Iterable[CodeList]) -> str:
    """Hash of what the contract says, not of how it is laid out."""
    content = {
        "version": INGEST_VERSION,
        "contract": document,
        "codes": {code_list.name: code_list.entries for code_list in code_lists},
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def parse_contract(path: Path, code_lists: dict[str, CodeList]) -> Contract:
    """Read and compile one contract.

    Raises:
        ContractError: not YAML, not ODCS, or naming something that does not exist; the message starts ``file:line``.
    """
    text = path.read_text(encoding="utf-8")
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ContractError(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from None
    if not isinstance(document, dict):
        raise ContractError(f"{path}:1: a contract is a mapping")
    try:
        model = OpenDataContractStandard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        last = next((str(part) for part in reversed(first["loc"]) if isinstance(part, str)), "")
        line = next((n for n, row in enumerate(text.splitlines(), 1) if last and f"{last}:" in row), 1)
        raise ContractError(f"{path}:{line}: not ODCS v3: {place}: {first['msg']}") from None
    try:
        return _compile(model, document, path, code_lists, text)
    except (KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"{path}:1: incomplete: {type(error).__name__}: {error}") from error


def _compile(
    model: OpenDataContractStandard, document: object, path: Path, code_lists: dict[str, CodeList], text: str
) -> Contract:
    if not model.schema_ or len(model.schema_) != 1:
        raise ContractError(f"{path}:1: exactly one schema object is required")
    table = model.schema_[0]
    feed = cast(str, table.name)
    if path.name != feed + SUFFIX:
        raise ContractError(f"{path}:{_line_of(text, feed)}: schema name {feed!r} must equal the file's name")
    columns = []
    for prop in table.properties or ():
        try:
            columns.append(_column(prop, code_lists))
        except ContractError as error:
            raise ContractError(f"{path}:{_line_of(text, str(prop.name))}: {prop.name}: {error}") from None
    names = {column.name for column in columns}
    custom = _custom(model.customProperties)
    checks = []
    for quality in table.quality or ():
        arguments = dict(cast(dict[str, Any], quality.implementation))
        check = Check(
            cast(str, quality.name),
            arguments.pop("check"),
            arguments.pop("rule"),
            arguments.pop("column"),
            arguments,
            quality.severity == "warning",
        )
        if check.column not in names:
            raise ContractError(f"{path}:{_line_of(text, check.name)}: check {check.name}: no column {check.column!r}")
        checks.append(check)
    checks += _name_checks(columns)
    scope = tuple(custom.get("scope", ()))
    for name in scope:
        if name not in names:
            raise ContractError(f"{path}:{_line_of(text, 'scope')}: scope names no column {name!r}")
    identity = None
    if given := custom.get("identity"):
        token = next(column.token for column in columns if column.name == given["column"])
        identity = Identity(
            given["column"],
            cast(str, token),
            tuple(given.get("surrogateFrom", ())),
            compile_condition(given.get("noNumberWhen")),
        )
    file_name = custom["fileName"]
    skip = custom.get("skipRows", {})
    used = {column.code_list.name: column.code_list for column in columns if column.code_list}
    county_list = code_lists[file_name["countyList"]] if file_name.get("countyList") else None
    for check in checks:
        if (name := check.arguments.get("codeList")) is not None:
            used[name] = code_lists[name]
            check.arguments["codeList"] = code_lists[name]
    contract = Contract(
        feed=feed,
        version=cast(str, model.version),
        sha256=_canonical_sha256(document, [*used.values(), *([county_list] if county_list else [])]),
        path=path,
        title_zh=cast(str, table.businessName),
        title_en=cast(str, model.name),
        description=table.description or "",
        folder=custom["folder"],
        stem=re.compile(file_name["stem"]),
        file_pattern=re.compile(file_name["pattern"]),
        formats=tuple(custom.get("formats", ("csv", "xlsx", "parquet"))),
        county_list=county_list,
        delivery=custom["delivery"],
        scope=scope,
        columns=tuple(columns),
        checks=tuple(checks),
        identity=identity,
        thresholds=tuple(
            Threshold(item["rule"], float(item["share"]), int(item["minimum"])) for item in custom.get("thresholds", ())
        ),
        skip_any_cell=skip.get("anyCell", ""),
        skip_first_cell=skip.get("firstCell", ""),
        header_search_rows=int(custom.get("headerSearchRows", 15)),
        custom=custom,
        model=model,
    )
    if not contract.key or any(not (column.required) for column in contract.key):
        raise ContractError(f"{path}:1: a key is needed, and each of its columns must be required")
    return contract


def _refuse_unknown_columns(contract: Contract, check: Check, other: Contract) -> None:
    """A lookup may only name what the other feed lands, and its deliveries as that feed's scope has them.

    Raises:
        ContractError: naming what the other feed does not have.
    """
    arguments = check.arguments
    match = arguments["match"]
    wanted = set(match.values()) if isinstance(match, dict) else {match}
    if check.kind == "not_ended":
        wanted |= {arguments["asOf"]["column"], arguments["endDate"]}
        wanted |= {end[part] for end in arguments["ends"] for part in ("column", "when")}
    unknown = wanted - {name for name, _, _ in other.landed}
    for scope in arguments.get("among", ()):
        if tuple(scope) != other.scope:
            unknown.add(f"scope {', '.join(scope)}")
    if unknown:
        place = f"{contract.path}:1: check {check.name}"
        raise ContractError(f"{place}: feed {other.feed} has no {min(map(str, unknown))!r}")


def contract_folders() -> tuple[Path, ...]:
    """Folders that hold the contracts: EDUPA_CONTRACTS, relative ones from the project's root; default: our own."""
    named = os.environ.get(FOLDERS_VARIABLE, "")
    return tuple(PROJECT_ROOT / part for part in named.split(os.pathsep) if part) or (FOLDER,)


def known_code_lists(folders: Iterable[Path] | None = None) -> dict[str, CodeList]:
    """Our code lists and those that lie in ``codelists`` beside contracts.

    Raises:
        CodeListError: a list is broken, or two have one name.
    """
    lists = load_code_lists()
    for folder in contract_folders() if folders is None else folders:
        for name, code_list in load_code_lists(folder / CODE_LISTS).items():
            if name in lists:
                raise CodeListError(f"{folder / CODE_LISTS / name}.csv:1: there is a code list {name} already")
            lists[name] = code_list
    return lists


def load_contracts(
    folder: Path | None = None, code_lists: dict[str, CodeList] | None = None, *, drafts: bool = False
) -> dict[str, Contract]:
    """All contracts by feed id, in an order in which each feed comes after those it refers to.

    Args:
        folder: the only folder with contracts; default: the configured ones.
        code_lists: default: ours and those beside the contracts.
        drafts: with those of status draft, which nobody has read yet; nothing is loaded by them.

    Raises:
        ContractError: a contract is broken or there twice, refers to an unknown feed, or contracts refer to each other
            in a circle; a configured folder is missing.
        CodeListError: a code list is broken.
    """
    folders = contract_folders() if folder is None else (folder,)
    if missing := [path for path in folders if not path.is_dir()]:
        raise ContractError(f"{missing[0]}:1: there is no such folder; {FOLDERS_VARIABLE} names folders with contracts")
    lists = known_code_lists(folders) if code_lists is None else code_lists
    parsed = [parse_contract(path, lists) for place in folders for path in sorted(place.glob(f"*{SUFFIX}"))]
    if not drafts:
        parsed = [contract for contract in parsed if not contract.is_draft]
    twice = Counter(contract.feed for contract in parsed)
    for contract in parsed:
        if twice[contract.feed] > 1:
            raise ContractError(f"{contract.path}:1: feed {contract.feed!r} has another contract already")
    waiting = {contract.feed: contract for contract in parsed}
    for contract in parsed:
        if unknown := contract.depends_on - set(waiting):
            raise ContractError(f"{contract.path}:1: refers to unknown feed {min(unknown)!r}")
    for contract in parsed:
        for check in contract.lookups:
            _refuse_unknown_columns(contract, check, waiting[check.arguments["feed"]])
    ordered: dict[str, Contract] = {}
    while waiting:
        ready = [feed for feed, contract in waiting.items() if contract.depends_on <= set(ordered)]
        if not ready:
            raise ContractError(f"contracts refer to each other in a circle: {', '.join(sorted(waiting))}")
        for feed in ready:
            ordered[feed] = waiting.pop(feed)
    return ordered


def resolve_bound(bound: object, facts: dict[str, Any]) -> date | None:
    """A date bound of a contract as a date.

    Args:
        bound: an ISO date, the name of a date fact of the file, or ``{fact, years, month, day}``: that month and day of
            the year ``fact`` + ``years``; None: no bound.
        facts: what the file's name says.

    Returns:
        The date, or None where the file's name does not say.
    """
    if isinstance(bound, date):
        return bound
    if isinstance(bound, str):
        fact = facts.get(bound)
        return fact if isinstance(fact, date) else None
    if isinstance(bound, dict):
        year = facts.get(str(bound["fact"]))
        if year is None:
            return None
        return date(int(year) + int(bound.get("years", 0)), int(bound["month"]), int(bound["day"]))
    return None
