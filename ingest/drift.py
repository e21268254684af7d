"""Schema drift: where a file's columns differ from the contract, what ingest does about it, and a change to propose.

A change is proposed as a patch of the contract's text, never applied: a person decides whether the sender or the
contract is right.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from ingest.authoring import AuthoringError, draft_column, property_lines
from ingest.codelists import CodeList, spelling
from ingest.columns import masked
from ingest.contract import Column, Contract, parse_contract
from ingest.problems import row_rules
from ingest.profile import MANY, MOST, Profile, fit, header_texts, profile, sample
from ingest.tables import EXTRA
from warehouse.config import PROJECT_ROOT

DriftKind = Literal["renamed", "added", "missing", "reordered", "retyped", "new codes"]

_TYPE_RULES = ("type.", "code.pattern", "code.unknown", "code.leading_zero_lost", "number.unit_text", "id.")
_LOGICAL = {"integer": "integer", "decimal": "number", "date": "date", "boolean": "boolean"}
_PHYSICAL = {"integer": "integer", "decimal": "numeric", "date": "date", "boolean": "boolean"}


@dataclass(frozen=True)
class Drift:
    """One difference.

    Attributes:
        column: canonical name of the contract's column, where there is one.
        header: header in the file, where there is one.
        outcome: what ingest does with such a file as things are.
        proposal: what the patch changes, or what to do instead.
    """

    kind: DriftKind
    column: str
    header: str
    outcome: str
    proposal: str


@dataclass(frozen=True)
class DriftReport:
    """All differences between a file and its contract; ``proposed`` is the amended text (equal: no change)."""

    contract: Contract
    drifts: tuple[Drift, ...]
    current: str
    proposed: str

    @property
    def patch(self) -> str:
        """The proposed change as a unified diff for ``git apply`` or ``patch -p1`` from the current folder."""
        path = self.contract.path.resolve()
        base = next((each for each in (Path.cwd(), PROJECT_ROOT) if path.is_relative_to(each)), path.parent)
        name = path.relative_to(base).as_posix()
        return "".join(
            difflib.unified_diff(
                self.current.splitlines(keepends=True),
                self.proposed.splitlines(keepends=True),
                f"a/{name}",
                f"b/{name}",
            )
        )


def _block(lines: list[str], name: str) -> tuple[int, int]:
    """First line of a column's block and the line after it."""
    begin = next(
        (n for n, line in enumerate(lines) if re.match(rf"^\s*- name:\s*['\"]?{name}['\"]?\s*(#.*)?$", line)), None
    )
    if begin is None:
        raise AuthoringError(f"column {name} does not stand on a line of its own in the contract: change it by hand")
    indent = len(lines[begin]) - len(lines[begin].lstrip())
    end = begin + 1
    while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent):
        end += 1
    return begin, end


def _add_alias(lines: list[str], column: Column, header: str) -> None:
    begin, end = _block(lines, column.name)
    text = header if re.fullmatch(r"[\w\u4e00-\u9fff（）]+", header) else "'" + header.replace("'", "''") + "'"
    for number in range(begin, end):
        if found := re.match(r"^(\s*- \{property: headers, value: \[)(.*)(\]\}\s*)$", lines[number], re.DOTALL):
            lines[number] = f"{found[1]}{found[2]}{', ' if found[2].strip() else ''}{text}{found[3]}"
            return
    for number in range(begin, end):
        if found := re.match(r"^(\s*)- \{property: kind,", lines[number]):
            lines.insert(number + 1, f"{found[1]}- {{property: headers, value: [{text}]}}\n")
            return
    raise AuthoringError(f"column {column.name} is laid out in a way that cannot be patched: add the alias by hand")


def _raise_version(lines: list[str]) -> None:
    for number, line in enumerate(lines):
        if found := re.match(r"^version: (\d+)\.(\d+)\.\d+(.*)$", line, re.DOTALL):
            lines[number] = f"version: {found[1]}.{int(found[2]) + 1}.0{found[3]}"
            return


def _similarity(header: str, column: Column) -> float:
    return max(
        difflib.SequenceMatcher(None, spelling(header), spelling(text)).ratio()
        for text in (column.header, *column.aliases)
    )


def _is_telling(column: Column) -> bool:
    """Whether values that fit say something: any text fits a column of text."""
    return bool(column.pattern or column.code_list or column.kind in ("id_number", "date", "school_year", "boolean"))


def _match_renamed(missing: Sequence[Column], extras: dict[str, pl.Series]) -> dict[str, Column]:
    """Header of the file -> missing column of the contract that it seems to stand for, each at most once."""
    scores: list[tuple[float, str, str]] = []
    by_name = {column.name: column for column in missing}
    for header, series in extras.items():
        for column in missing:
            similar = _similarity(header, column)
            fitting, _ = fit(series, column) if series.null_count() < len(series) else (0.0, {})
            if fitting >= MOST and (similar >= MANY or (_is_telling(column) and similar > 0)):
                scores.append((similar + fitting + _is_telling(column) / 2, header, column.name))
    chosen: dict[str, Column] = {}
    for _, header, name in sorted(scores, reverse=True):
        if header not in chosen and by_name[name] not in chosen.values():
            chosen[header] = by_name[name]
    return chosen


def _relaxed(contract: Contract) -> Contract:
    """The contract without required columns, so that a file with other columns can be looked at."""
    columns = tuple(dataclasses.replace(column, required=False) for column in contract.columns)
    return dataclasses.replace(contract, columns=columns)


def find_drift(
    path: Path, contract: Contract, known: dict[str, Contract], lists: dict[str, CodeList], file_format: str
) -> DriftReport:
    """Compare a file's columns with its contract.

    Args:
        path: the file.
        contract: the contract its name belongs to.
        known: contracts from which added columns may be taken over.
        lists: code lists.
        file_format: csv, xlsx, …

    Raises:
        FileRejectedError: the reader refuses the file for another reason than its columns.
        AuthoringError: the contract's layout cannot be patched.
    """
    table, frame = sample(path, _relaxed(contract), file_format)
    present = [name for name in table.header.columns if not name.startswith(EXTRA)]
    extras = {
        text: frame[name]
        for name, text in zip(table.header.columns, header_texts(table), strict=True)
        if name.startswith(EXTRA) and text in table.header.unknown
    }
    in_file = [column for column in contract.columns if column.derived is None]
    missing = [column for column in in_file if column.name not in present]
    renamed = _match_renamed(missing, extras)
    current = contract.path.read_text(encoding="utf-8")
    lines = current.splitlines(keepends=True)
    drifts: list[Drift] = []
    for header, column in renamed.items():
        _add_alias(lines, column, header)
        drifts.append(
            Drift(
                "renamed",
                column.name,
                header,
                "the file is rejected: header.missing_column"
                if column.required
                else f"the file loads, but {column.header} counts as empty and {header} is ignored, with warnings",
                f"take {header} as another header of {column.header}",
            )
        )
    for column in missing:
        if column in renamed.values():
            continue
        drifts.append(
            Drift(
                "missing",
                column.name,
                column.header,
                "the file is rejected: header.missing_column"
                if column.required
                else "the file loads; the column counts as empty, with a warning: header.optional_column",
                "ask the sender for the column"
                + ("; only if it is gone for good, make it optional by hand" if column.required else ""),
            )
        )
    taken = {column.name for column in contract.columns}
    added = [(header, series) for header, series in extras.items() if header not in renamed]
    for position, (header, series) in enumerate(added, len(contract.columns) + 1):
        found = profile(header, series)
        made = draft_column(
            header,
            series,
            dataclasses.replace(found, codes=()),
            taken=taken,
            position=position,
            known=[other for other in known.values() if other.feed != contract.feed],
            lists=lists,
            other_headers=frozenset(contract.headers),
        )
        # earlier files lack it, so it cannot be required
        made.block["required"] = False
        note = f"  # {'' if made.is_known else 'edit: '}{made.note}"
        lines += [f"{line}\n" for line in property_lines(made.block, note)]
        drifts.append(
            Drift(
                "added",
                made.name,
                header,
                "the file loads; the column is ignored, with a warning: header.unknown_column",
                f"add it as {made.name} ({made.properties['kind']}, {made.block['classification']})",
            )
        )
    order = [column.name for column in in_file if column.name in present]
    if order != present:
        moved = next(name for name, expected in zip(present, order, strict=True) if name != expected)
        drifts.append(
            Drift(
                "reordered",
                moved,
                table.header.headers[moved],
                "the file loads: columns are found by their headers",
                "nothing to do",
            )
        )
    for name in present:
        drifts += _retyped(contract.by_name[name], frame[name], table.header.headers[name], contract, lines)
    if lines != current.splitlines(keepends=True):
        _raise_version(lines)
    proposed = "".join(lines)
    if proposed != current:
        _must_parse(proposed, contract, lists)
    return DriftReport(contract, tuple(drifts), current, proposed)


def _retyped(column: Column, series: pl.Series, header: str, contract: Contract, lines: list[str]) -> list[Drift]:
    """Whether a column's values are no longer of its kind, or use codes that its list does not know."""
    filled = len(series) - series.null_count()
    fitting, broken = fit(series, column)
    wrong = Counter({rule: amount for rule, amount in broken.items() if rule.startswith(_TYPE_RULES)})
    if not filled or not wrong:
        return []
    rule, amount = wrong.most_common(1)[0]
    outcome = f"about {amount:,} of {filled:,} rows go to quarantine: {rule}"
    threshold = next((each for each in contract.thresholds if each.rule == rule), None)
    if threshold and amount >= threshold.minimum and amount > threshold.share * len(series):
        outcome = f"the file is rejected: file.too_many_bad_rows ({rule} in {amount:,} of {len(series):,} rows)"
    if fitting > 1 - MANY:
        if rule != "code.unknown" or column.code_list is None:
            return []
        unknown = sorted(
            {masked(text, column) for text in series.drop_nulls().unique() if not column.code_list.find(text)}
        )
        return [
            Drift(
                "new codes",
                column.name,
                header,
                outcome,
                f"if they are right, add them to the code list {column.code_list.name}: {', '.join(unknown[:10])}",
            )
        ]
    found = profile(header, series)
    return [Drift("retyped", column.name, header, outcome, _propose_kind(column, found, rule, lines))]


def _propose_kind(column: Column, found: Profile, rule: str, lines: list[str]) -> str:
    advice = row_rules()[rule].fix_en
    if column.is_personal or found.personal or column.code_list or column.key_position is not None:
        return f"ask the sender: {advice}"
    if found.kind == column.kind:
        if column.pattern and found.pattern and found.pattern != column.pattern:
            begin, end = _block(lines, column.name)
            lines[begin:end] = [
                line.replace(f"pattern: '{column.pattern}'", f"pattern: '{found.pattern}'") for line in lines[begin:end]
            ]
            return f"if the new form is right: pattern {found.pattern}"
        return f"ask the sender: {advice}"
    begin, end = _block(lines, column.name)
    new_physical, new_logical = _PHYSICAL.get(found.kind, "text"), _LOGICAL.get(found.kind, "string")
    block = []
    for line in lines[begin:end]:
        line = re.sub(r"^(\s*logicalType: )\w+", rf"\g<1>{new_logical}", line)
        line = re.sub(r"^(\s*physicalType: )\w+", rf"\g<1>{new_physical}", line)
        line = re.sub(r"(\{property: kind, value: )\w+\}", rf"\g<1>{found.kind}}}", line)
        block.append(line)
    lines[begin:end] = block
    text = f"if the sender is right: kind {found.kind} instead of {column.kind}"
    if new_physical != column.physical_type:
        text += (
            f"; the landed column must then change from {column.physical_type} to {new_physical} by a migration:"
            " until then every load is refused, and nothing is lost"
        )
    return text


def _must_parse(text: str, contract: Contract, lists: dict[str, CodeList]) -> None:
    with tempfile.TemporaryDirectory(prefix="edupa-") as folder:
        path = Path(folder) / contract.path.name
        path.write_text(text, encoding="utf-8")
        parse_contract(path, lists)
