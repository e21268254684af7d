"""Draft a contract from a file: what a machine can see is filled in, what a person must decide is marked ``# edit``.

A draft loads nothing until somebody sets its status to active: above all, somebody has to say which columns are about
persons. In doubt the draft protects a column (classification vault: it never lands).
"""

from __future__ import annotations

import calendar
import copy
import csv
import io
import itertools
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from ingest.codelists import CodeList, spelling
from ingest.contract import CODE_LISTS, SUFFIX, Contract, parse_contract
from ingest.names import base_name
from ingest.profile import MOST, Profile, fit, guess_header, head_of, header_texts, profile, sample

_WORDS_FILE = Path(__file__).parent / "words.csv"
_HEAD_FILE = Path(__file__).parent / "draft_head.yaml"
_LAG = {
    "property": "periodLag",
    "value": 0,
    "unit": "y",
    "description": "that day lies so many years after the period",
}
_FORMATS = ("csv", "xlsx", "xls", "parquet")
_FEED = re.compile(r"^[a-z][a-z0-9_]{1,40}$")
_SUFFIX_PATTERN = r"(?P<suffix>(?:[\s_]*[(（](?:最终版|\d{1,2})[)）])*)"
_PHYSICAL = {
    "integer": "integer",
    "decimal": "numeric",
    "date": "date",
    "boolean": "boolean",
}
_LOGICAL = {"integer": "integer", "decimal": "number", "date": "date", "boolean": "boolean"}
_NORMALIZERS = {
    "text": ["trim", "collapse_space"],
    "name": ["trim", "collapse_space", "han_space", "middle_dot"],
    "integer": ["trim", "apostrophe", "nfkc", "no_space", "thousands", "decimal_zero"],
    "decimal": ["trim", "apostrophe", "nfkc", "no_space", "thousands"],
    "date": ["trim", "apostrophe", "nfkc"],
    "boolean": ["trim", "nfkc"],
    "id_number": ["trim", "apostrophe", "nfkc", "no_space", "upper"],
    "code": ["trim", "apostrophe", "nfkc", "no_space", "decimal_zero"],
    "school_year": ["trim", "apostrophe", "nfkc", "no_space"],
}
#: of a column that another contract knows, what may be taken over: the rest speaks of that feed alone
_PORTABLE = frozenset(
    (
        "kind",
        "normalizers",
        "codeList",
        "multi",
        "unit",
        "longNumber",
        "codeLength",
        "testWords",
        "monthAllowed",
        "identifierKind",
        "nullWords",
        "words",
    )
)


class AuthoringError(ValueError):
    """A contract cannot be drafted or amended; the message says why and what to do."""


@dataclass(frozen=True)
class NameGuess:
    """What the name of a file seems to say; ``literal``: parts beside the subject that were not understood."""

    stem: str
    pattern: str
    county_list: str | None
    county_code: str | None
    period: int | None
    extract_date: date
    file_format: str
    literal: tuple[str, ...]


@dataclass(frozen=True)
class DraftColumn:
    """A column of a draft: its block of the contract, and why it is as it is."""

    name: str
    header: str
    block: dict[str, Any]
    note: str
    is_known: bool
    profile: Profile

    @property
    def properties(self) -> dict[str, Any]:
        """Custom properties by name."""
        return {item["property"]: item["value"] for item in self.block["customProperties"]}


@dataclass(frozen=True)
class Draft:
    """A drafted contract.

    Attributes:
        text: the YAML.
        code_lists: name -> CSV of new code lists.
        notes: what the author must decide.
    """

    feed: str
    text: str
    code_lists: dict[str, str]
    columns: tuple[DraftColumn, ...]
    key: tuple[str, ...]
    scope: tuple[str, ...]
    rows: int
    notes: tuple[str, ...] = field(default=())


@cache
def _words() -> dict[str, str]:
    with _WORDS_FILE.open(encoding="utf-8", newline="") as handle:
        return {row["zh"]: row["en"] for row in csv.DictReader(handle)}


@cache
def _document(path: Path, sha256: str) -> dict[str, Any]:
    """A contract's YAML, read once per content."""
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def translate(header: str) -> str | None:
    """English snake_case name of a Chinese header, word by word; None where a word is not known."""
    text = re.sub(r"[(（].*?[)）]|[*＊\s]", "", header)
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text):
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
    parts: list[str] = []
    while text:
        word = next((text[:size] for size in range(len(text), 0, -1) if text[:size] in _words()), None)
        if word is None:
            return None
        parts += _words()[word].split("_")
        text = text[len(word) :]
    # 学校代码 + 编号 would say one thing twice
    return "_".join(part for part, _ in itertools.groupby(parts))


def _scalar(value: object) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def guess_name(file_name: str, lists: dict[str, CodeList]) -> NameGuess:
    """Read the parts of a file's name: subject, county, period, extract date.

    Raises:
        AuthoringError: a part without which files cannot be told apart is missing.
    """
    base = base_name(file_name)
    root, _, extension = base.rpartition(".")
    file_format = extension.lower()
    example = "教师培训_640422_西吉县_2019_20191015.csv"
    if file_format not in _FORMATS:
        raise AuthoringError(f"{base}: the format must be one of {', '.join(_FORMATS)}")
    root = re.sub(r"([\s_]*[(（](最终版|\d{1,2})[)）])+$", "", root)
    parts = root.split("_")
    pieces: list[str] = []
    county: tuple[str, str] | None = None
    period: int | None = None
    extract: date | None = None
    literal: list[str] = []
    for index, part in enumerate(parts):
        following = parts[index + 1] if index + 1 < len(parts) else ""
        owner = next((each for each in lists.values() if part in each.entries and each.find(following) == part), None)
        if index + 1 == len(parts) and re.fullmatch(r"(19|20)\d{6}", part):
            try:
                extract = datetime.strptime(part, "%Y%m%d").date()
            except ValueError:
                raise AuthoringError(f"{base}: {part} is no date") from None
            pieces.append(r"(?P<extract_date>\d{8})")
        elif re.fullmatch(r"\d{6}", part) and owner and county is None:
            county = (owner.name, part)
            pieces.append(r"(?P<county_code>\d{6})")
        elif county and index and parts[index - 1] == county[1]:
            pieces.append(r"(?P<county_name>[^_]+)")
        elif period is None and index and re.fullmatch(r"(19|20)\d{2}", part):
            period = int(part)
            pieces.append(r"(?P<period>\d{4})")
        else:
            pieces.append(re.escape(part))
            literal += [part] if index else []
    if extract is None:
        raise AuthoringError(
            f"{base}: the name must end in the extract date, for without it nobody can tell which of two files is the"
            f" later one: rename the file, e.g. {example}"
        )
    pattern = "^" + "_".join(pieces) + _SUFFIX_PATTERN + r"\.(?P<format>csv|xlsx|xls|parquet)$"
    return NameGuess(
        "^" + re.escape(parts[0]) + "_",
        pattern,
        county[0] if county else None,
        county[1] if county else None,
        period,
        extract,
        file_format,
        tuple(literal),
    )


def property_lines(block: dict[str, Any], comment: str = "") -> list[str]:
    """A column's block as lines of a contract, laid out as in the contracts that came with edupa."""
    lines = []
    for index, (key, value) in enumerate(block.items()):
        if key == "customProperties":
            lines.append("        customProperties:")
            lines += [f"          - {_scalar(item)}" for item in value]
        else:
            mark = comment if index == 0 else ""
            lines.append(f"      {'- ' if index == 0 else '  '}{key}: {_scalar(value)}{mark}")
    return lines


def draft_column(
    header: str,
    series: pl.Series,
    found: Profile,
    *,
    taken: set[str],
    position: int,
    known: Sequence[Contract],
    lists: dict[str, CodeList],
    other_headers: frozenset[str] = frozenset(),
) -> DraftColumn:
    """The block of one column.

    Args:
        header: as in the file.
        series: its values.
        found: its profile.
        taken: canonical names in use; the new one is added.
        position: from 1; names columns that have no English name.
        known: contracts from which a column with the same header may be taken over.
        lists: code lists that its values may belong to.
        other_headers: spellings of the file's other headers, which may not become aliases.
    """
    adopted = _adopt(header, series, found, known, other_headers)
    if adopted is not None:
        block, source = adopted
        name = _free(str(block["name"]), taken)
        return DraftColumn(name, header, {**block, "name": name}, f"as in {source}", True, found)
    english = translate(header)
    name = _free(english or f"column_{position:02d}", taken)
    kind = "text" if found.kind not in _NORMALIZERS else found.kind
    custom: list[dict[str, Any]] = [{"property": "kind", "value": kind}]
    amount = "one value" if found.distinct == 1 else f"{found.distinct} values"
    note = f"{found.filled} of {found.rows} rows filled, {amount}"
    normalizers = _NORMALIZERS["name" if found.personal == "name" else kind]
    custom.append({"property": "normalizers", "value": normalizers})
    options: dict[str, Any] = {}
    classification = "internal"
    if found.personal == "id":
        classification = f"token:{name}_token"
        custom.append({"property": "identifierKind", "value": "id_number"})
        note = "ID numbers: replaced by tokens"
    elif found.personal == "number":
        classification = f"token:{name}_token"
        custom[0]["value"] = "code"
        custom[1]["value"] = _NORMALIZERS["id_number"]
        custom += [{"property": "longNumber", "value": True}, {"property": "identifierKind", "value": name}]
        note = "numbers of persons: replaced by tokens"
    elif found.personal:
        classification = "vault"
        note = {
            "name": "looks like names: never lands",
            "contact": "a way to reach a person: never lands",
            "text": "free text, where persons may be named: never lands",
        }[found.personal]
    elif kind == "integer":
        options = {"minimum": 0, "maximum": 2_000_000_000}
        custom.append({"property": "unit", "value": "单位 unit"})
    elif kind == "decimal":
        options = {"minimum": 0}
        custom.append({"property": "unit", "value": "单位 unit"})
    elif kind == "date":
        if found.months:
            custom.append({"property": "monthAllowed", "value": True})
        custom.append({"property": "range", "value": {"minimum": "1900-01-01", "maximum": "extract_date"}})
    elif found.pattern:
        options = {"pattern": found.pattern}
    if found.codes and not found.personal:
        listed = _fitting_list(found.codes, lists)
        if listed:
            custom[0]["value"] = "code"
            custom[1]["value"] = _NORMALIZERS["code"]
            custom.append({"property": "codeList", "value": listed})
            note = f"all values are in the code list {listed}"
        else:
            custom[0]["value"] = "code"
            custom[1]["value"] = ["trim", "nfkc", "no_space"]
            custom.append({"property": "codeList", "value": None})
            note = f"{found.distinct} values that repeat: a new code list"
    english_text = english.replace("_", " ") if english else "edit: what this column holds"
    block = {
        "name": name,
        "businessName": header,
        "logicalType": _LOGICAL.get(kind, "string"),
        "physicalType": "text" if classification != "internal" else _PHYSICAL.get(kind, "text"),
        "required": found.rows > 0 and found.filled == found.rows,
        "classification": classification,
        "description": f"{header} | {english_text}",
        **({"logicalTypeOptions": options} if options else {}),
        "customProperties": custom,
    }
    if classification == "vault":
        block["logicalType"] = "string"
    return DraftColumn(name, header, block, note, False, found)


def _free(name: str, taken: set[str]) -> str:
    candidate = next(
        text for text in itertools.chain([name], (f"{name}_{n}" for n in itertools.count(2))) if text not in taken
    )
    taken.add(candidate)
    return candidate


def _adopt(
    header: str, series: pl.Series, found: Profile, known: Sequence[Contract], other_headers: frozenset[str]
) -> tuple[dict[str, Any], str] | None:
    """The block of a column with this header in another contract, if the values fit it."""
    fitting: list[tuple[bool, float, Contract, str]] = []
    for contract in known:
        name = contract.headers.get(spelling(header))
        if name is None:
            continue
        column = contract.by_name[name]
        # who carries no fact of its own file is no less the same column
        share, _ = fit(series, replace(column, file_fact=None))
        if share >= MOST and (column.is_personal or not found.personal):
            fitting.append((spelling(column.header) == spelling(header), share, contract, name))
    if not fitting:
        return None
    # a header of its own says more than an alias
    is_own, _, contract, name = max(fitting, key=lambda item: item[:2])
    block = _portable(contract, name, header, other_headers)
    block["required"] = bool(found.rows and found.filled == found.rows)
    names = {item[3] for item in fitting if item[0] == is_own}
    if len(names) > 1 and (english := translate(header)):
        # where feeds disagree on the English name, the plain one is better than one of theirs
        block["name"] = english
    return block, contract.feed


def _portable(contract: Contract, name: str, header: str, other_headers: frozenset[str]) -> dict[str, Any]:
    """What of a column's block holds in another feed too, under the header that it has there."""
    document = _document(contract.path, contract.sha256)
    source = next(item for item in document["schema"][0]["properties"] if item["name"] == name)
    custom = []
    for item in source["customProperties"]:
        if item["property"] == "headers":
            names = [source["businessName"], *item["value"]]
            aliases = [text for text in names if spelling(text) not in other_headers | {spelling(header)}]
            if aliases:
                custom.append({"property": "headers", "value": aliases})
        elif item["property"] in _PORTABLE:
            custom.append(dict(item))
    block = {key: copy.deepcopy(value) for key, value in source.items() if not key.startswith("primaryKey")}
    block.update(businessName=header, customProperties=custom)
    return block


def _fitting_list(codes: Sequence[str], lists: dict[str, CodeList]) -> str | None:
    """The smallest code list that knows all values; bare digits fit too many lists to say anything."""
    if all(text.isdigit() for text in codes):
        return None
    fitting = [each for each in lists.values() if all(each.find(text) is not None for text in codes)]
    return min(fitting, key=lambda each: (len(each.entries), each.name)).name if fitting else None


def _key(columns: Sequence[DraftColumn], frame: pl.DataFrame, first: Sequence[str]) -> tuple[str, ...]:
    """The shortest key: columns without gaps that together tell all rows apart, codes before words, leftmost first."""
    ranks = {
        "code": 0,
        "id_number": 0,
        "school_year": 1,
        "date": 2,
        "text": 2,
        "integer": 3,
        "boolean": 4,
        "decimal": 5,
    }
    usable = [
        column
        for position, column in enumerate(columns)
        if frame.height and column.profile.filled == frame.height and column.block["classification"] != "vault"
        if column.name not in first
    ]
    usable.sort(key=lambda column: ranks.get(str(column.properties["kind"]), 9))
    usable = usable[:12]
    distinct = frame.unique().height
    for size in range(0, 4):
        for chosen in itertools.combinations(usable, size):
            names = [*first, *(column.name for column in chosen)]
            if names and frame.select(names).n_unique() == distinct:
                return tuple(names)
    return ()


def draft_contract(
    path: Path,
    known: dict[str, Contract],
    lists: dict[str, CodeList],
    *,
    feed: str | None = None,
    folder: str | None = None,
) -> Draft:
    """Draft a contract from one file.

    Args:
        path: the file; its name must end in the extract date.
        known: contracts from which columns with the same header are taken over.
        lists: code lists that values may belong to.
        feed: id of the feed, in English; default: the translated first part of the file's name.
        folder: folder of the feed's files below the extracts; default: the folder in which the file lies.

    Returns:
        The draft; it parses, and the file it came from loads by it (once it is active).

    Raises:
        AuthoringError: the file's name or header tells too little, or a contract recognizes the file already.
        FileRejectedError: the file cannot be read.
    """
    if other := next((c for c in known.values() if c.stem.match(base_name(path.name))), None):
        raise AuthoringError(
            f"{path.name}: contract {other.path.name} recognizes this name already:"
            f" `edupa contract diff {path.name}` compares the file with it"
        )
    named = guess_name(path.name, lists)
    subject = base_name(path.name).split("_")[0]
    identifier = feed or translate(subject) or "new_feed"
    if not _FEED.match(identifier):
        raise AuthoringError(f"the feed's id must be like teacher_training, not {identifier!r}")
    if identifier in known:
        raise AuthoringError(f"there is a feed {identifier} already: give another id with --feed")
    guess = guess_header(head_of(path, named.file_format))
    if guess is None:
        raise AuthoringError(f"{path.name}: no header row was found in its first rows")
    headers = [text for text in guess.names if text]
    if twice := [text for text in headers if sum(spelling(text) == spelling(other) for other in headers) > 1]:
        raise AuthoringError(f"{path.name}: two columns have the header {twice[0]}: give each its own")
    draft = _Drafter(path, identifier, folder or path.resolve().parent.name, subject, named, known, lists)
    return draft.make(headers)


@dataclass
class _Drafter:
    """Makes a draft: first a contract that takes every column as text, then, from what it reads, the real one."""

    path: Path
    feed: str
    folder: str
    subject: str
    named: NameGuess
    known: dict[str, Contract]
    lists: dict[str, CodeList]
    notes: list[str] = field(default_factory=list)

    def make(self, headers: list[str]) -> Draft:
        probe = self._probe(headers)
        table, frame = sample(self.path, probe, self.named.file_format)
        texts = header_texts(table)
        frame = frame.select(table.header.columns)
        spellings = frozenset(map(spelling, texts))
        taken: set[str] = set()
        columns: list[DraftColumn] = []
        for position, (name, header) in enumerate(zip(table.header.columns, texts, strict=True), 1):
            series = frame[name]
            if name not in probe.by_name:
                self.notes.append(f"column {position} has no header: it is not in the draft")
                frame = frame.drop(name)
                continue
            columns.append(
                draft_column(
                    header,
                    series,
                    profile(header, series),
                    taken=taken,
                    position=position,
                    known=list(self.known.values()),
                    lists=self.lists,
                    other_headers=spellings - {spelling(header)},
                )
            )
        frame = frame.rename(dict(zip(frame.columns, (column.name for column in columns), strict=True)))
        new_lists = self._code_lists(columns)
        identity = self._identity(columns)
        scope = self._scope(columns, frame)
        key = _key(columns, frame, scope)
        if not key:
            key = tuple(column.name for column in columns if column.block["required"])[:1]
            self.notes.append("no columns tell all rows apart: the key is a guess, rows of one key go to quarantine")
        for place, name in enumerate(key, 1):
            column = next(column for column in columns if column.name == name)
            column.block["required"] = True
            self._set_key(column.block, place)
        if self.named.county_code and not any(self._has_fact(column, "county_code") for column in columns):
            self.notes.append(
                "no column repeats the county of the file's name: as it is, the file of one county would end the rows"
                " of all others; ask for a column with the county"
            )
        if self.named.literal:
            self.notes.append(
                f"the file's name also holds {'、'.join(self.named.literal)}: only names with exactly these words are"
                " recognized; where other files differ here, widen the pattern"
            )
        protected = [column.header for column in columns if column.block["classification"] == "vault"]
        if protected:
            self.notes.append(
                f"{'、'.join(protected)}: classification vault, so these never land; where no person is concerned,"
                " set internal"
            )
        unnamed = [column.name for column in columns if re.fullmatch(r"column_\d\d", column.name)]
        if unnamed:
            self.notes.append(f"give English names to {', '.join(unnamed)}")
        if any(column.properties.get("unit") == "单位 unit" for column in columns):
            self.notes.append("give each number its unit, lower and upper bound")
        text = self._render(columns, scope, identity)
        self._parse(text, new_lists)
        return Draft(self.feed, text, new_lists, tuple(columns), key, tuple(scope), frame.height, tuple(self.notes))

    @staticmethod
    def _set_key(block: dict[str, Any], place: int) -> None:
        items = list(block.items())
        block.clear()
        for name, value in items:
            block[name] = value
            if name == "required":
                block["primaryKey"] = True
                block["primaryKeyPosition"] = place

    @staticmethod
    def _has_fact(column: DraftColumn, fact: str) -> bool:
        return bool(column.properties.get("fileFact", {}).get("fact") == fact)

    def _probe(self, headers: Sequence[str]) -> Contract:
        """A contract under which the reader finds the header and takes every column as text."""
        blocks = [
            {
                "name": f"probe_{position:03d}",
                "businessName": header,
                "logicalType": "string",
                "physicalType": "text",
                "required": True,
                "classification": "internal",
                "description": header,
                "customProperties": [{"property": "kind", "value": "text"}],
                **({"primaryKey": True, "primaryKeyPosition": 1} if position == 1 else {}),
            }
            for position, header in enumerate(headers, 1)
        ]
        lines = [line for block in blocks for line in property_lines(block)]
        return self._parse(self._head((), None) + "\n".join(lines) + "\n", {})

    def _parse(self, text: str, new_lists: dict[str, str]) -> Contract:
        with tempfile.TemporaryDirectory(prefix="edupa-") as place:
            path = Path(place) / f"{self.feed}{SUFFIX}"
            path.write_text(text, encoding="utf-8")
            made = {}
            for name, content in new_lists.items():
                rows = list(csv.DictReader(io.StringIO(content)))
                made[name] = CodeList(
                    name,
                    {row["code"]: row for row in rows},
                    {spelling(row["code"]): row["code"] for row in rows},
                    frozenset(),
                )
            return parse_contract(path, {**self.lists, **made})

    def _code_lists(self, columns: Sequence[DraftColumn]) -> dict[str, str]:
        """New code lists of the draft; their names are put into the columns."""
        made: dict[str, str] = {}
        for column in columns:
            for item in column.block["customProperties"]:
                if item["property"] == "codeList" and item["value"] is None:
                    name = f"{self.feed}_{column.name}"
                    item["value"] = name
                    out = io.StringIO()
                    writer = csv.writer(out, lineterminator="\n")
                    writer.writerow(["code", "label", "aliases"])
                    distinct = {spelling(code): code for code in column.profile.codes}
                    writer.writerows([code, code, ""] for code in distinct.values())
                    made[name] = out.getvalue()
        if made:
            self.notes.append(f"new code lists hold the values of this file only: complete {', '.join(made)}")
        return made

    def _identity(self, columns: Sequence[DraftColumn]) -> dict[str, Any] | None:
        """The person a row is about: the first ID number, the first name; the token joins with other feeds."""
        number = next((c for c in columns if c.properties["kind"] == "id_number"), None)
        if number is None:
            return None
        number.block["classification"] = "token:person_token"
        names = [c.name for c in columns if c.profile.personal == "name" and c.block["classification"] == "vault"]
        if not names:
            return None
        number.block["customProperties"].append({"property": "nameColumn", "value": names[0]})
        births = [c.name for c in columns if c.properties["kind"] == "date" and re.search("出生|生日", c.header)]
        number.block["required"] = False
        return {"column": number.name, "surrogateFrom": [names[0], *births[:1]]}

    def _scope(self, columns: Sequence[DraftColumn], frame: pl.DataFrame) -> list[str]:
        """Columns that repeat what the file's name says; they get the rule that they must."""
        scope = []
        period, county = self.named.period, self.named.county_code
        counties = self.lists.get(self.named.county_list or "")
        for column in columns:
            texts = frame[column.name].drop_nulls().unique().to_list()
            if not texts or len(texts) > 5 or column.block["classification"] != "internal":
                continue
            fact: dict[str, Any] | None = None
            kind = column.properties["kind"]
            if period and kind == "school_year" and all(text.strip().startswith(str(period)) for text in texts):
                fact = {"fact": "period", "rule": "date.out_of_range", "schoolYear": True}
            elif period and kind == "integer" and {text.strip() for text in texts} == {str(period)}:
                fact = {"fact": "period", "rule": "number.out_of_range"}
                column.block["logicalTypeOptions"] = {"minimum": 2000, "maximum": 2100}
                for item in column.block["customProperties"]:
                    if item["property"] == "unit":
                        item["value"] = "年 year"
            elif county and counties and all(counties.find(text) == county for text in texts):
                fact = {"fact": "county_code", "rule": "county.mismatch"}
                self._make_county(column, counties.name)
            if fact and not any(self._has_fact(other, fact["fact"]) for other in columns):
                column.block["customProperties"].append({"property": "fileFact", "value": fact})
                column.block["required"] = True
                scope.append(column.name)
        return scope

    @staticmethod
    def _make_county(column: DraftColumn, list_name: str) -> None:
        custom = column.block["customProperties"]
        kept = [item for item in custom if item["property"] not in ("kind", "normalizers", "codeList")]
        custom[:] = [
            {"property": "kind", "value": "code"},
            {"property": "normalizers", "value": _NORMALIZERS["code"]},
            *kept,
            {"property": "codeList", "value": list_name},
        ]
        column.block.pop("logicalTypeOptions", None)
        column.block.update(logicalType="string", physicalType="text")

    def _head(self, scope: Sequence[str], identity: dict[str, Any] | None) -> str:
        named = self.named
        english = self.feed.replace("_", " ").capitalize()
        due = date(
            named.extract_date.year,
            named.extract_date.month,
            calendar.monthrange(named.extract_date.year, named.extract_date.month)[1],
        )
        year = named.period or due.year
        lag = due.year - year
        sender = ({"by": "county_code", "codeList": named.county_list} if named.county_code else {"by": "province"}) | {
            "firstPeriod": year,
            "lastPeriod": year,
            "files": 1,
        }
        listed = f"      countyList: {named.county_list}\n" if named.county_list else ""
        late = f"  - {_scalar(_LAG | {'value': lag})}\n" if lag else ""
        person = f"  - {_scalar({'property': 'identity', 'value': identity})}\n" if identity else ""
        values = {
            "feed": self.feed,
            "subject": self.subject,
            "english": english,
            "stem": _scalar(named.stem),
            "pattern": _scalar(named.pattern),
            "example": _scalar(base_name(self.path.name)),
            "folder": _scalar(self.folder),
            "purpose": _scalar(f"{self.subject} | {english}"),
            "usage": _scalar(f"放入 {self.folder}/ | put below {self.folder}/, named as in the example"),
            "due": f"{due:%m-%d}",
            "scope": _scalar(list(scope)),
            "sender": _scalar(sender),
        }
        text = _HEAD_FILE.read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace("{" + name + "}", value)
        for name, optional in (("countyList", listed), ("periodLag", late), ("identity", person)):
            text = text.replace("{" + name + "}\n", optional)
        return text

    def _render(self, columns: Sequence[DraftColumn], scope: Sequence[str], identity: dict[str, Any] | None) -> str:
        lines = []
        for column in columns:
            comment = (
                "" if column.is_known and not column.note else f"  # {'' if column.is_known else 'edit: '}{column.note}"
            )
            lines += property_lines(column.block, comment)
        return self._head(scope, identity) + "\n".join(lines) + "\n"


def write_draft(draft: Draft, folder: Path) -> list[Path]:
    """Write a draft and its code lists.

    Returns:
        The files, the contract first.

    Raises:
        AuthoringError: one of them is there already; nothing is overwritten.
    """
    files = {folder / f"{draft.feed}{SUFFIX}": draft.text}
    for name, content in draft.code_lists.items():
        files[folder / CODE_LISTS / f"{name}.csv"] = content
    for path in files:
        if path.exists():
            raise AuthoringError(f"{path} is there already: remove it or give another id with --feed")
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return list(files)
