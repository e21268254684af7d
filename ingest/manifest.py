"""What a sender says about the files it sent: names, row counts, control totals, hashes, mode.

A manifest lies beside the files: ``manifest.json`` or ``manifest.csv`` (``报送清单.*``) for a folder, or
``<file>.manifest.json`` / ``.csv`` for one file. It is honored wherever it is found.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from ingest.archives import leads_outside
from ingest.codelists import spelling
from ingest.contract import Contract
from ingest.names import MEMBER, base_name
from ingest.problems import FileRejectedError
from ingest.tables import LINE, Batch, Table
from ingest.values import NUMERIC_CELL

MAX_BYTES = 16 * 1024**2
_FOLDER_NAMES = ("manifest", "报送清单")
_SUFFIXES = (".manifest.json", ".manifest.csv")
_FIELDS = {
    "file": ("file", "file_name", "filename", "name", "文件名", "文件"),
    "rows": ("rows", "row_count", "rowcount", "行数", "记录数"),
    "sha256": ("sha256", "hash", "校验和", "校验值"),
    "mode": ("mode", "delivery", "方式", "报送方式"),
    "totals": ("totals", "control_totals", "合计"),
}
_FIELD_OF = {spelling(alias): name for name, aliases in _FIELDS.items() for alias in aliases}
#: a csv column ``total:在校生数`` holds the control total of that column
_TOTAL_PREFIXES = ("total:", "合计:", "合计：")
_MODES = {
    "full": ("full", "全量", "全部"),
    "period": ("period", "本期", "分期"),
    "events": ("events", "event", "delta", "增量", "异动"),
}
_MODE_OF = {alias: mode for mode, aliases in _MODES.items() for alias in aliases}
_MODE_ZH = {mode: aliases[1] for mode, aliases in _MODES.items() if len(aliases) > 1} | {"events": "增量"}


@dataclass(frozen=True)
class ManifestEntry:
    """What the sender says about one file; None or empty where nothing is said.

    Attributes:
        file: base name, or path relative to the manifest's folder.
        manifest: relative name of the manifest.
        rows: number of data rows.
        totals: header or canonical name of a column -> sum of its numbers over all data rows.
        sha256: of the file's bytes, 64 hex digits.
        mode: full, period or events.
        broken: why the manifest cannot be read; then nothing else is known.
    """

    file: str
    manifest: str
    rows: int | None = None
    totals: Mapping[str, Decimal] = field(default_factory=dict)
    sha256: str | None = None
    mode: str | None = None
    broken: str | None = None


class _UnreadableError(ValueError):
    """A manifest does not say what it should; the message says what."""


def is_manifest(name: str) -> bool:
    """Whether a relative name is that of a manifest."""
    base = base_name(name).lower()
    return base.endswith(_SUFFIXES) or (base.endswith((".json", ".csv")) and base.rpartition(".")[0] in _FOLDER_NAMES)


def described_file(name: str) -> str | None:
    """The one file that a manifest's own name names, or None for a folder's manifest."""
    lower = name.lower()
    suffix = next((suffix for suffix in _SUFFIXES if lower.endswith(suffix)), None)
    return name[: -len(suffix)] if suffix and base_name(name).lower() != suffix else None


def read_manifest(content: bytes, name: str) -> tuple[ManifestEntry, ...]:
    """Entries of a manifest; a broken one gives one entry that says why.

    Args:
        content: its bytes: JSON (an object, a list of them, or ``{"files": [...]}``) or csv, UTF-8 or GB18030.
        name: its relative name.
    """
    alone = described_file(name)
    try:
        text = _decoded(content)
        rows = _json_rows(text) if name.lower().endswith(".json") else _csv_rows(text)
        if not rows:
            raise _UnreadableError("it lists no file")
        return tuple(_entry(row, name, base_name(alone) if alone else None) for row in rows)
    except _UnreadableError as error:
        return (ManifestEntry(base_name(alone) if alone else "*", name, broken=str(error)),)


def _decoded(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise _UnreadableError("it is larger than a manifest can be")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise _UnreadableError("its text is neither UTF-8 nor GB18030")


def _json_rows(text: str) -> list[dict[str, Any]]:
    try:
        # numbers stay exact: a control total of money may have more digits than a float
        content = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise _UnreadableError("it is not JSON") from None
    if isinstance(content, dict) and isinstance(content.get("files"), list):
        content = content["files"]
    rows = content if isinstance(content, list) else [content]
    if not all(isinstance(row, dict) for row in rows):
        raise _UnreadableError("an entry is not an object")
    return rows


def _csv_rows(text: str) -> list[dict[str, Any]]:
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        raise _UnreadableError("it is not csv") from None
    if not lines:
        return []
    header = [cell.strip() for cell in lines[0]]
    rows = []
    for line in lines[1:]:
        if not any(cell.strip() for cell in line):
            continue
        row: dict[str, Any] = {}
        totals: dict[str, str] = {}
        for title, cell in zip(header, line, strict=False):
            prefix = next((prefix for prefix in _TOTAL_PREFIXES if title.lower().startswith(prefix)), None)
            if not cell.strip():
                continue
            if prefix:
                totals[title[len(prefix) :].strip()] = cell.strip()
            else:
                row[title] = cell.strip()
        rows.append({**row, "totals": totals})
    return rows


def _entry(row: dict[str, Any], manifest: str, alone: str | None) -> ManifestEntry:
    values = {_FIELD_OF[key]: value for text, value in row.items() if (key := spelling(str(text))) in _FIELD_OF}
    file = values.get("file") or alone
    if not isinstance(file, str) or not file.strip():
        raise _UnreadableError("an entry names no file")
    file = unicodedata.normalize("NFC", file.strip().replace("\\", "/"))
    if leads_outside(file):
        raise _UnreadableError("an entry names a file outside its folder")
    rows = values.get("rows")
    if rows is not None:
        number = _number(rows)
        if number is None or number < 0 or number != number.to_integral_value():
            raise _UnreadableError("a row count is not a whole number")
        rows = int(number)
    totals = {}
    given = values.get("totals") or {}
    if not isinstance(given, dict):
        raise _UnreadableError("control totals are not given by column")
    for column, value in given.items():
        if (total := _number(value)) is None:
            raise _UnreadableError("a control total is not a number")
        totals[str(column)] = total
    sha = values.get("sha256")
    if sha is not None:
        sha = str(sha).strip().lower()
        if len(sha) != 64 or set(sha) - set("0123456789abcdef"):
            raise _UnreadableError("a sha256 is not 64 hex digits")
    mode = values.get("mode")
    if mode is not None and (mode := _MODE_OF.get(str(mode).strip().lower())) is None:
        raise _UnreadableError(f"the mode is none of {', '.join(_MODES)}")
    return ManifestEntry(file, manifest, rows, totals, sha, mode)


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        number = Decimal(unicodedata.normalize("NFKC", str(value)).replace(",", "").strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def entries_by_file(manifests: Mapping[str, tuple[ManifestEntry, ...]], names: set[str]) -> dict[str, ManifestEntry]:
    """Which entry speaks for which file.

    An entry speaks for the file that lies where the manifest says, and for a file packed in an archive of that name.
    Of two, the one in the file's own manifest wins. A folder's broken manifest speaks for every file of its folder.

    Args:
        manifests: relative name of each manifest -> its entries.
        names: relative names of the files there are, members of archives as ``archive!member``.

    Returns:
        Relative name -> entry, and relative name -> entry for files that are announced and not there.
    """
    by_carrier: dict[str, list[str]] = {}
    for name in names:
        by_carrier.setdefault(name.partition(MEMBER)[0], []).append(name)
    result: dict[str, ManifestEntry] = {}
    # folders first, a file's own manifest last: it overwrites
    for manifest in sorted(manifests, key=lambda name: (described_file(name) is not None, name)):
        head, bang, member = manifest.rpartition(MEMBER)
        folder = PurePosixPath(member if bang else manifest).parent
        prefix = head + bang + ("" if str(folder) == "." else f"{folder}/")
        for entry in manifests[manifest]:
            if entry.file == "*":
                result |= {name: entry for name in names if name.startswith(prefix)}
                continue
            wanted = prefix + entry.file
            packed = [wanted] if wanted in names else by_carrier.get(f"{wanted}.gz", [])
            if not packed and wanted in by_carrier:
                # the entry names the archive: its hash is that of the archive, which is not what is loaded
                packed, entry = by_carrier[wanted], replace(entry, sha256=None)
            for name in packed or [wanted]:
                result[name] = entry
    return result


def check_before(entry: ManifestEntry, contract: Contract, sha256: str) -> None:
    """Compare what can be compared before the file is read.

    Raises:
        FileRejectedError: manifest.unreadable, manifest.hash, manifest.mode.
    """
    if entry.broken:
        raise FileRejectedError(
            "manifest.unreadable", f"{entry.manifest}: {entry.broken}", detail_zh=f"{entry.manifest}：{entry.broken}"
        )
    if entry.sha256 and entry.sha256 != sha256:
        raise FileRejectedError(
            "manifest.hash",
            f"{entry.manifest} says {entry.sha256[:16]}…, the file has {sha256[:16]}…",
            detail_zh=f"{entry.manifest}中为{entry.sha256[:16]}…，文件为{sha256[:16]}…",
        )
    if entry.mode and entry.mode != contract.delivery:
        expected = _MODE_ZH.get(contract.delivery, contract.delivery)
        raise FileRejectedError(
            "manifest.mode",
            f"{entry.manifest} says {entry.mode}, the contract expects {contract.delivery}",
            detail_zh=f"{entry.manifest}为{_MODE_ZH[entry.mode]}，合同要求{expected}",
        )


def check_rows(entry: ManifestEntry, rows: int) -> None:
    """Compare the number of data rows: all but titles, blank rows, totals and footers.

    Raises:
        FileRejectedError: manifest.rows with both numbers.
    """
    if entry.rows is not None and entry.rows != rows:
        raise FileRejectedError(
            "manifest.rows",
            f"{entry.manifest} says {entry.rows} rows, the file has {rows}",
            detail_zh=f"{entry.manifest}为{entry.rows}行，文件为{rows}行",
        )


def controlled(table: Table, contract: Contract, entry: ManifestEntry) -> Table:
    """A table that compares control totals with the manifest once its last batch is taken.

    All data rows count, also those that are quarantined or repeated; titles, totals and footers do not.

    Raises:
        FileRejectedError: manifest.column for a total of a column that is not there; while batches are read:
            manifest.total with the difference.
    """
    if not entry.totals:
        return table
    columns: dict[str, str] = {}
    for title in entry.totals:
        name = contract.headers.get(spelling(title))
        if name is None or name not in table.header.columns:
            raise FileRejectedError(
                "manifest.column", f"{entry.manifest}: {title}", detail_zh=f"{entry.manifest}：{title}"
            )
        columns[title] = name
    skip = _skip_pattern(contract)

    def batches() -> Iterator[Batch]:
        sums = dict.fromkeys(columns, Decimal(0))
        for batch in table.batches:
            data = _data_rows(batch.frame, skip)
            for title, name in columns.items():
                sums[title] += _sum(data[name])
            yield batch
        _compare(entry, sums)

    return replace(table, batches=batches())


def _skip_pattern(contract: Contract) -> str | None:
    """Matches the joined cells of a total, a unit row or a footer (see pipeline.CompiledContract)."""
    parts = [contract.skip_any_cell] if contract.skip_any_cell else []
    if contract.skip_first_cell:
        parts.append(r"\A\s*" + contract.skip_first_cell.removeprefix("^"))
    return "(?m)" + "|".join(f"(?:{part})" for part in parts) if parts else None


def _data_rows(frame: pl.DataFrame, skip: str | None) -> pl.DataFrame:
    if skip is None:
        return frame
    names = [name for name in frame.columns if name != LINE]
    # cells are joined by line breaks, so that ^ and $ mean a cell's ends
    cells = [pl.col(name).fill_null("").str.replace_all("\n", "\u2028", literal=True) for name in names]
    return frame.filter(~pl.concat_str(cells, separator="\n").str.contains(skip))


def _sum(column: pl.Series) -> Decimal:
    """Sum of the cells that are numbers, exact; other cells count nothing and are judged by their own rules."""
    cells = column.drop_nulls().str.replace(NUMERIC_CELL, "", literal=True).str.strip_chars()
    whole = cells.cast(pl.Int64, strict=False)
    total = Decimal(int(whole.sum() or 0))
    for text in cells.filter(whole.is_null()):
        total += _number(text) or 0
    return total


def _compare(entry: ManifestEntry, sums: dict[str, Decimal]) -> None:
    for title, found in sums.items():
        if (said := entry.totals[title]) != found:
            raise FileRejectedError(
                "manifest.total",
                f"{title}: {entry.manifest} says {said:f}, the file has {found:f}, difference {found - said:+f}",
                detail_zh=f"{title}：{entry.manifest}为{said:f}，文件为{found:f}，相差{found - said:+f}",
                column=title,
            )
