"""From the text of a batch to rows that may land, rows for quarantine, and identities for the vault.

No database here: the same code checks a file in a dry run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import polars_hash as plh
import pyarrow as pa

from ingest.across import ACROSS_CHECKS, AcrossCheck, Learned, ReadAgain
from ingest.checks import CHECKS, DIFFERENCES
from ingest.columns import ODD_BLANK, ColumnParser, ColumnResult, condition_mask, id_problems, masked
from ingest.contract import LOOKUP_CHECKS, Check, Column, Contract
from ingest.copy_text import to_copy_lines
from ingest.duplicates import Hashes, Mask, SeenHashes, binary_halves, row_hashes
from ingest.file_checks import ColumnWatch, LastFigures
from ingest.identity import TokenKey
from ingest.lookups import Lookup, LookupCheck
from ingest.problems import FileRejectedError, row_messages
from ingest.tables import LINE, Batch, Table, WidthProblem
from ingest.values import NUMERIC_CELL

#: a cell that says that its row is a total, however it is spaced
_TOTAL = r"(?m)^[\s\x{3000}]*[合小总共][\s\x{3000}]*计[\s\x{3000}]*[:：]?[\s\x{3000}]*$"
_TOTAL_HINT = r"[合小总共][ \t\x{3000}]*计"
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
#: a row's cells are joined by line breaks, so that a contract's ^ and $ mean the cell's ends
_SEPARATOR = "\n"
_UNIT = "\x1f"
_ROW = "*"
#: name of the column with the landed columns' text for COPY
COPY_LINE = "?copy"
_ROW_COLUMNS = ("record_key", "scope_key", "record_hash", "source_line", COPY_LINE)
_NO_HASH = bytes(16)

QUARANTINE_SCHEMA = {
    "line_number": pl.Int64,
    "column_name": pl.String,
    "column_header": pl.String,
    "rule": pl.String,
    "masked_value": pl.String,
    "message_en": pl.String,
    "message_zh": pl.String,
    "row_sha256": pl.String,
    "scope_key": pl.String,
    "record_key": pl.String,
}
VAULT_SCHEMA = {
    "person_token": pl.String,
    "identifier_kind": pl.String,
    "identifier": pl.String,
    "person_name": pl.String,
    "token_basis": pl.String,
    "record_key": pl.String,
}


def _needed_words(pattern: str) -> tuple[str, ...]:
    """Words of which each match of a pattern like ``^.{0,9}(a|b[:：])$`` holds one; none where it is not plain."""
    found = re.fullmatch(r"[^|()\\]*\((?:\?:)?([^()\\*?+{}^$.]+)\)\$?", pattern)
    words = [re.match(r"[^\W\d_]*", part) for part in found[1].split("|")] if found else []
    return tuple(word[0] for word in words if word) if all(word and word[0] for word in words) else ()


def _as_lines(joined: pl.Series) -> pl.Series:
    """Joined rows as they would stand in a file without quotes, so that equal rows are found however they are written.

    A row with a comma in a cell stands in no such file and stays as it is.
    """
    text = pl.col("?row")
    line = text.str.strip_suffix(_SEPARATOR).str.replace_all(_SEPARATOR, ",", literal=True) + _SEPARATOR
    holds_comma = text.str.contains(",", literal=True)
    return joined.alias("?row").to_frame().select(pl.when(holds_comma).then(text).otherwise(line)).to_series()


def _separated(lines: pl.Series) -> pl.Series:
    """Rows without quotes with a line break after each cell."""
    return lines.str.replace_all(",", _SEPARATOR, literal=True)


def _holds(content: bytes, pattern: str) -> bool:
    """Whether a block of text holds a pattern: far quicker than looking at each row."""
    whole = pa.LargeStringArray.from_buffers(
        1, pa.py_buffer(np.array([0, len(content)], np.int64)), pa.py_buffer(content)
    )
    return bool(pl.Series(whole).str.contains(pattern)[0])


class CompiledContract:
    """A contract with its parsers; made once per feed, used for every file."""

    def __init__(self, contract: Contract) -> None:
        """Compile parsers and skip rules."""
        self.contract = contract
        self.parsers = {column.name: ColumnParser(column) for column in contract.columns}
        clean = {name: parser.clean_expression() for name, parser in self.parsers.items()}
        #: column -> whether no value of a batch needs a second look
        self.all_clean = {name: found.all().alias(name) for name, found in clean.items() if found is not None}
        parts = [contract.skip_any_cell] if contract.skip_any_cell else []
        if contract.skip_first_cell:
            parts.append(r"\A\s*" + contract.skip_first_cell.removeprefix("^"))
        #: patterns for a row's cells, each followed by a line break
        self.skip_patterns = ["(?m)" + part for part in parts]
        given = [pattern for pattern in (contract.skip_any_cell, contract.skip_first_cell) if pattern]
        words = [_needed_words(pattern) for pattern in given]
        #: finds a text that every row to be skipped holds; None: there is no such text
        self._skip_hint = "|".join(sorted({word for group in words for word in group})) if all(words) else None
        self._skip_python = re.compile("|".join(f"(?:{part})" for part in parts), re.MULTILINE) if parts else None

    def may_skip(self, content: bytes) -> bool:
        """Whether a row to be skipped may stand in a block: far quicker than looking at each row."""
        if self._skip_hint is None:
            return True
        return bool(self.skip_patterns) and _holds(content, self._skip_hint)

    def is_skipped(self, text: str) -> bool:
        """Whether a row that could not be split is a total, a unit row or a footer."""
        return self._skip_python is not None and self._skip_python.search(text) is not None


@dataclass
class Counts:
    """Rows of a file by what became of them; ``rows_in`` = good + quarantined + exact duplicates."""

    rows_in: int = 0
    quarantined: int = 0
    exact_duplicate: int = 0
    skipped: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)
    by_rule_column: Counter[tuple[str, str]] = field(default_factory=Counter)
    warned: dict[str, list[int]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    normalizations: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class CheckedBatch:
    """The outcome for one batch.

    Attributes:
        rows: good rows: record_key, scope_key, record_hash, source_line, COPY_LINE (the text of the landed columns)
            and the scope columns.
        vault: VAULT_SCHEMA, of good rows.
        quarantine: QUARANTINE_SCHEMA, one row per row × broken rule.
        known_keys: record keys of quarantined rows; an earlier good version of them stays.
        hashes: of the good rows as they stand in the file, two times 64 bits each.
        keys: record keys of the good rows, two times 64 bits each.
    """

    rows: pl.DataFrame
    vault: pl.DataFrame
    quarantine: pl.DataFrame
    known_keys: pl.Series
    hashes: Hashes
    keys: Hashes


@dataclass(frozen=True)
class _Problem:
    rule: str
    column: str
    mask: pl.Series
    detail: str = ""
    #: by how much each row of the batch is wrong, where the rule tells
    difference: pl.Series | None = None


def digest(column: str) -> pl.Expr:
    """XXH3-128 of a text column, 16 bytes, the same on every machine and version."""
    expression: pl.Expr = plh.col(column).nchash.xxh3_128(return_binary=True, byte_order="big")
    return expression


def scope_key(values: list[str]) -> str:
    """Text that names a scope: its values joined by ``|``; ``*`` where the feed is one scope."""
    return "|".join(values) if values else "*"


class FileChecker:
    """Checks one file batch by batch; remembers what was seen, for duplicates and counts."""

    def __init__(
        self,
        compiled: CompiledContract,
        table: Table,
        facts: dict[str, Any],
        key: TokenKey,
        references: Mapping[str, pl.Series],
        *,
        lookups: Mapping[str, Lookup] | None = None,
        learned: Learned | None = None,
        last: LastFigures | None = None,
    ) -> None:
        """Bind contract, file and key.

        Args:
            compiled: the feed's contract.
            table: header and sheet of the file.
            facts: what the file's name says.
            key: makes the tokens.
            references: column -> codes it may hold; a column that is not in it is not checked.
            lookups: check -> what another feed says; a check that is not in it is not made.
            learned: what a first reading of the file found out; None: this is the first.
            last: medians of the last load, for columns whose unit is watched.
        """
        self.compiled = compiled
        self.contract = compiled.contract
        self.table = table
        self.facts = facts
        self.key = key
        self.references = references
        self.counts = Counts(skipped=table.skipped)
        self._seen_rows = SeenHashes()
        self._seen_bad_rows = SeenHashes()
        self._seen_keys = SeenHashes()
        self._checks = [
            (check, CHECKS[check.kind](check.arguments, facts).alias(f"?check{index}"))
            for index, check in enumerate(self.contract.checks)
            if check.kind not in (*ACROSS_CHECKS, *LOOKUP_CHECKS)
        ]
        self._is_again = learned is not None
        known = learned or {}
        nothing = np.empty(0, np.uint64) if self._is_again else None
        self._across = [
            AcrossCheck(check, known.get(check.name, nothing))
            for check in self.contract.checks
            if check.kind in ACROSS_CHECKS
        ]
        self._lookups = [
            LookupCheck(check, self.contract, lookups[check.name], key, known.get(check.name, nothing))
            for check in self.contract.lookups
            if lookups and check.name in lookups
        ]
        self._watch = ColumnWatch(self.contract, last)

    def finish(self) -> None:
        """Judge the file as a whole once its last batch is checked.

        Raises:
            FileRejectedError: file.header_only, file.too_many_bad_rows, column.unit.
            ReadAgain: a row has passed that must not, or the other way round.
        """
        judges: list[AcrossCheck | LookupCheck] = [*self._across, *self._lookups]
        if not self._is_again and any(judge.is_late for judge in judges if not judge.check.is_warning):
            raise ReadAgain({judge.check.name: judge.learned for judge in judges})
        counts = self.counts
        if counts.rows_in == 0:
            raise FileRejectedError(
                "file.header_only", sheet=self.table.sheet, line=self.table.header.first_row + self.table.header.rows
            )
        headers = self.table.header.headers
        for threshold in self.contract.thresholds:
            broken = counts.by_rule[threshold.rule]
            if broken >= threshold.minimum and broken > threshold.share * counts.rows_in:
                columns = [name for rule, name in counts.by_rule_column if rule == threshold.rule and name != _ROW]
                place = "".join(f" of {headers.get(name, name)}" for name in columns[:1])
                place_zh = "".join(f"“{headers.get(name, name)}”列" for name in columns[:1])
                raise FileRejectedError(
                    "file.too_many_bad_rows",
                    f"{threshold.rule}{place} in {broken} of {counts.rows_in} rows",
                    detail_zh=f"{place_zh}{counts.rows_in}行中有{broken}行违反{threshold.rule}",
                    sheet=self.table.sheet,
                    column=columns[0] if columns else None,
                )
        warned = tuple(
            f"{key}: {len(lines)} rows, lines {', '.join(map(str, lines[:10]))}" for key, lines in counts.warned.items()
        )
        odd = tuple(
            f"text.odd_blank: {counts.normalizations[f'{column.name}.{ODD_BLANK}']} cells of {column.name}"
            f" ({headers.get(column.name, column.header)}) began or ended with a non-breaking, zero-width or"
            " ideographic space, which was removed 首尾含不间断、零宽或全角空格，已去除"
            for column in self.contract.columns
            if counts.normalizations[f"{column.name}.{ODD_BLANK}"]
        )
        counts.warnings = (*warned, *odd, *self._watch.finish(headers, self.table.sheet))

    def take_unread(self, unchanged: int, repeated: int) -> None:
        """Count lines that were known from the file before and not read: unchanged ones, and those repeated exactly."""
        self.counts.rows_in += unchanged + repeated
        self.counts.exact_duplicate += repeated

    def check(self, batch: Batch) -> CheckedBatch:
        """Normalize, check and pseudonymize a batch."""
        frame, joined, hashes = self._without_skipped(batch)
        width_rows = [problem for problem in batch.width_problems if not self.compiled.is_skipped(problem.text)]
        self.counts.skipped += len(batch.width_problems) - len(width_rows)
        self.counts.rows_in += frame.height + len(width_rows)
        frame, joined, hashes = self._without_repeated(frame, joined, hashes)
        problems: list[_Problem] = []
        typed, identifiers = self._columns(frame, problems)
        self._control_characters(frame, joined, problems, may_hold=batch.has_control)
        self._total_rows(frame, joined, batch, problems)
        self._cross_fields(typed, frame.height, problems)
        self._across_rows(typed, frame[LINE], problems)
        self._look_up(typed, identifiers, problems)
        bad = pl.repeat(False, frame.height, eager=True, dtype=pl.Boolean)
        for problem in problems:
            bad = bad | problem.mask
        rows, vault_parts, keys = self._pseudonymize(typed, identifiers, frame)
        repeated_key = self._repeated_keys(keys, bad)
        if repeated_key.any():
            problems.append(_Problem("duplicate.key", _ROW, repeated_key))
            bad = bad | repeated_key
        if problems and batch.lines is not None:
            joined = _separated(joined)
        quarantine = self._quarantine(problems, frame, joined, width_rows, rows)
        self.counts.quarantined += int(bad.sum()) + len(width_rows)
        good = ~bad
        if bad.any():
            self._seen_bad_rows.add(hashes[bad.to_numpy(), 1])
        self._watch.add(typed, good)
        vault = self._vault(vault_parts, typed, rows, good)
        rows = rows.select(list(dict.fromkeys([*_ROW_COLUMNS, *self.contract.scope])))
        if not bad.any():
            return CheckedBatch(rows, vault, quarantine, pl.Series("record_key", [], dtype=pl.String), hashes, keys)
        known_keys = rows.filter(bad)["record_key"].drop_nulls()
        is_good = good.to_numpy()
        return CheckedBatch(rows.filter(good), vault, quarantine, known_keys, hashes[is_good], keys[is_good])

    def _joined(self, frame: pl.DataFrame) -> pl.Series:
        names = [name for name in frame.columns if name != LINE]
        end = pl.lit("")
        cells = [pl.col(name).fill_null("") for name in names]
        joined = frame.select(pl.concat_str([*cells, end], separator=_SEPARATOR).alias("?row")).to_series()
        if (joined.str.count_matches(_SEPARATOR, literal=True) != len(names)).any():
            # a line break inside a cell must not look like the end of the cell
            cells = [pl.col(name).fill_null("").str.replace_all(_SEPARATOR, "\u2028", literal=True) for name in names]
            joined = frame.select(pl.concat_str([*cells, end], separator=_SEPARATOR).alias("?row")).to_series()
        return joined

    def _without_skipped(self, batch: Batch) -> tuple[pl.DataFrame, pl.Series, Hashes]:
        """Rows that are data, the same as text, and the hashes of that."""
        frame = batch.frame
        if batch.lines is None:
            joined = self._joined(frame)
            skip = ~joined.str.contains(r"\S")
            for pattern in self.compiled.skip_patterns:
                skip = skip | joined.str.contains(pattern)
        else:
            joined = batch.lines
            skip = ~joined.str.contains(r"[^\s,]")
            if self.compiled.may_skip(batch.content or b""):
                cells = _separated(joined)
                for pattern in self.compiled.skip_patterns:
                    skip = skip | cells.str.contains(pattern)
        dropped = int(skip.sum())
        if dropped:
            self.counts.skipped += dropped
            frame, joined = frame.filter(~skip), joined.filter(~skip)
        if batch.hashes is None:
            return frame, joined, row_hashes(_as_lines(joined))
        return frame, joined, batch.hashes[~skip.to_numpy()] if dropped else batch.hashes

    def _without_repeated(
        self, frame: pl.DataFrame, joined: pl.Series, hashes: Hashes
    ) -> tuple[pl.DataFrame, pl.Series, Hashes]:
        suspected = self._seen_rows.add(hashes[:, 0])
        if suspected.any():
            repeated = self._surely_repeated(frame, joined, hashes, suspected)
            self.counts.exact_duplicate += int(repeated.sum())
            kept = pl.Series(~repeated)
            frame, joined, hashes = frame.filter(kept), joined.filter(kept), hashes[~repeated]
        return frame, joined, hashes

    def _surely_repeated(self, frame: pl.DataFrame, joined: pl.Series, hashes: Hashes, suspected: Mask) -> Mask:
        """Of rows whose 64-bit hash was seen, those that equal an earlier row; no row may be lost to chance.

        An equal row in the batch is compared as text. An equal row before the batch had the same key if it was good;
        if it was bad the other 64 bits of its hash are known.
        """
        concerned = np.isin(hashes[:, 0], hashes[suspected, 0])
        sure = np.zeros(len(suspected), bool)
        sure[concerned] = (~joined.filter(pl.Series(concerned)).is_first_distinct()).to_numpy()
        open_cases = suspected & ~sure
        if open_cases.any():
            counted, self.counts = self.counts, Counts()
            typed, identifiers = self._columns(frame.filter(pl.Series(open_cases)), [])
            _, _, keys = self._pseudonymize(typed, identifiers, frame.filter(pl.Series(open_cases)))
            self.counts = counted
            was_good = self._seen_keys.known(keys[:, 0]) & (keys[:, 1] != 0)
            sure[open_cases] = was_good | self._seen_bad_rows.known(hashes[open_cases, 1])
        return sure

    def _columns(
        self, frame: pl.DataFrame, problems: list[_Problem]
    ) -> tuple[dict[str, pl.Series], dict[str, pl.Series]]:
        """Typed columns by name, and the identifiers from which tokens are made."""
        typed: dict[str, pl.Series] = {}
        results: dict[str, ColumnResult] = {}
        present = set(frame.columns)
        clean = self._clean_columns(frame)
        for column in self.contract.columns:
            if column.derived is not None:
                continue
            if column.name in present:
                raw = frame[column.name]
            else:
                raw = pl.Series(column.name, [None], dtype=pl.String).new_from_index(0, frame.height)
            result = self.compiled.parsers[column.name].apply(raw, self.facts, is_clean=column.name in clean)
            results[column.name] = result
            typed[column.name] = result.values.alias(column.name)
            for step, amount in result.counts.items():
                self.counts.normalizations[f"{column.name}.{step}"] += amount
            if column.kind != "id_number":
                problems += [_Problem(rule, column.name, mask) for rule, mask in result.problems.items()]
        for column in self.contract.columns:
            if column.derived is not None:
                source = typed[column.derived.column]
                length = column.derived.stop - column.derived.start
                typed[column.name] = source.str.slice(column.derived.start, length).alias(column.name)
                results[column.name] = ColumnResult(typed[column.name])
        identifiers = {}
        for column in self.contract.columns:
            if column.kind == "id_number":
                identifiers[column.name] = self._id_number(column, results[column.name], typed, problems)
            elif column.token:
                identifiers[column.name] = typed[column.name]
            if column.derived is None:
                self._required(column, results[column.name], typed, problems)
                self._file_fact(column, typed[column.name], problems)
                self._reference(column, typed[column.name], problems)
        return typed, identifiers

    def _clean_columns(self, frame: pl.DataFrame) -> set[str]:
        """Columns without a value that needs a second look, found in one pass over the batch."""
        asked = [self.compiled.all_clean[name] for name in self.table.header.columns if name in self.compiled.all_clean]
        if not asked or not frame.height:
            return set()
        answer = frame.select(asked).row(0, named=True)
        return {name for name, is_clean in answer.items() if is_clean}

    def _id_number(
        self, column: Column, result: ColumnResult, typed: dict[str, pl.Series], problems: list[_Problem]
    ) -> pl.Series:
        """Check ID numbers where the document is one; returns what identifies the person, of any document."""
        blamed = column.derived.column if column.derived else column.name
        text = typed[column.name]
        applies = condition_mask(column.id_when, typed) if column.id_when else None
        broken = pl.repeat(False, len(text), eager=True, dtype=pl.Boolean)
        for rule, mask in result.problems.items():
            concerned = mask & applies if applies is not None else mask
            if concerned.any():
                problems.append(_Problem(rule, blamed, concerned))
                broken = broken | concerned
        checkable = text.is_not_null() & ~broken
        if applies is not None:
            checkable = checkable & applies
        numbers = pl.select(pl.when(checkable).then(text)).to_series()
        for rule, mask in id_problems(numbers, self.facts.get("extract_date")).items():
            if mask.any():
                problems.append(_Problem(rule, blamed, mask))
                broken = broken | mask
        valid = numbers
        if broken.any():
            valid = pl.select(pl.when(~broken).then(numbers)).to_series()
            text = pl.select(pl.when(~broken).then(text)).to_series()
        typed[column.name] = valid.alias(column.name)
        return text.alias(column.name)

    def _required(
        self, column: Column, result: ColumnResult, typed: dict[str, pl.Series], problems: list[_Problem]
    ) -> None:
        if column.required:
            needed = None
        elif column.required_when:
            needed = condition_mask(column.required_when, typed)
        else:
            return
        if not result.values.null_count():
            return
        missing = result.values.is_null()
        for mask in result.problems.values():
            missing = missing & ~mask
        if needed is not None:
            missing = missing & needed
        if not missing.any():
            return
        if column.kind == "id_number" and result.null_words is not None:
            # a word where a number must stand is a placeholder, not an empty cell
            words = missing & result.null_words
            if words.any():
                problems.append(_Problem("id.placeholder", column.name, words))
                missing = missing & ~words
        if missing.any():
            problems.append(_Problem("required.missing", column.name, missing))

    def _file_fact(self, column: Column, values: pl.Series, problems: list[_Problem]) -> None:
        fact = column.file_fact
        if fact is None or (value := self.facts.get(fact.fact)) is None:
            return
        expected: object = value
        if fact.as_school_year:
            expected = f"{value}/{(int(value) + 1) % 100:02d}"
        elif column.code_list:
            expected = column.code_list.find(str(value))
        mask = values != expected if expected is not None else values.is_not_null()
        if mask.any():
            problems.append(_Problem(fact.rule, column.name, mask.fill_null(False)))

    def _reference(self, column: Column, values: pl.Series, problems: list[_Problem]) -> None:
        known = self.references.get(column.name)
        if known is None:
            return
        mask = ~values.is_in(known.implode())
        if mask.any():
            problems.append(_Problem(column.reference_rule, column.name, mask.fill_null(False)))

    def _control_characters(
        self, frame: pl.DataFrame, joined: pl.Series, problems: list[_Problem], *, may_hold: bool
    ) -> None:
        if not may_hold:
            return
        if self.table.sheet is not None:
            joined = joined.str.replace_all(NUMERIC_CELL, "", literal=True)
        if not joined.str.contains(_CONTROL).any():
            return
        for name in self.table.header.columns:
            cells = frame[name].str.replace_all(NUMERIC_CELL, "", literal=True)
            mask = cells.str.contains(_CONTROL).fill_null(False)
            if mask.any():
                column = name if name in self.contract.by_name else _ROW
                problems.append(_Problem("text.control_character", column, mask))

    def _cross_fields(self, typed: dict[str, pl.Series], height: int, problems: list[_Problem]) -> None:
        if not self._checks or not height:
            return
        outcome = pl.DataFrame(list(typed.values())).select(
            [expression.fill_null(False) for _, expression in self._checks]
        )
        for index, (check, _) in enumerate(self._checks):
            mask = outcome.to_series(index)
            if len(mask) == height and mask.any():
                difference = None
                if (amount := DIFFERENCES.get(check.kind)) is not None:
                    difference = pl.DataFrame(list(typed.values())).select(amount(check.arguments)).to_series()
                problems.append(_Problem(check.rule, check.column, mask, self._detail(check), difference))

    def _detail(self, check: Check) -> str:
        """The other columns of a check as they are called in the file, for its message."""
        arguments = check.arguments
        given: str | list[str] = next(
            (arguments[name] for name in ("right", "when", "parts", "group") if name in arguments), []
        )
        headers = self.table.header.headers
        names = [given] if isinstance(given, str) else given
        return " + ".join(headers.get(name, self.contract.by_name[name].header) for name in names)

    def _across_rows(self, typed: dict[str, pl.Series], lines: pl.Series, problems: list[_Problem]) -> None:
        for judge in self._across:
            mask, earlier = judge.judge(typed, lines)
            if mask is None and not earlier:
                continue
            check = judge.check
            if check.is_warning:
                found = lines.filter(mask).head(1000).to_list() if mask is not None else []
                self.counts.warned.setdefault(check.rule, []).extend([*earlier[:1000], *found])
            elif mask is not None:
                problems.append(_Problem(check.rule, check.column, mask, self._detail(check)))

    def _look_up(
        self, typed: dict[str, pl.Series], identifiers: dict[str, pl.Series], problems: list[_Problem]
    ) -> None:
        for lookup in self._lookups:
            mask = lookup.judge(typed, identifiers)
            if mask is not None:
                problems.append(_Problem(lookup.check.rule, lookup.check.column, mask))

    def _total_rows(self, frame: pl.DataFrame, joined: pl.Series, batch: Batch, problems: list[_Problem]) -> None:
        """A total row that the contract does not declare is no data either, but someone has to say so."""
        if batch.content is not None and not _holds(batch.content, _TOTAL_HINT):
            return
        cells = joined if batch.lines is None else _separated(joined)
        mask = cells.str.contains(_TOTAL)
        if mask.any():
            problems.append(_Problem("row.undeclared_total", _ROW, mask))

    def _pseudonymize(
        self, typed: dict[str, pl.Series], identifiers: dict[str, pl.Series], frame: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[tuple[Column, pl.Series, pl.Series]], Hashes]:
        """Landing rows for all rows of the batch, (column, identifier, basis) for the vault, and the hashes of keys."""
        contract = self.contract
        basis = None
        sources = dict(identifiers)
        if identity := contract.identity:
            number = identifiers[identity.column]
            if identity.no_number_when and (none := condition_mask(identity.no_number_when, typed)).any():
                number = pl.select(pl.when(~none).then(number)).to_series()
            basis = pl.repeat("id_number", frame.height, eager=True)
            if number.null_count():
                parts = pl.DataFrame(
                    [identifiers.get(name, typed[name]).alias(name) for name in identity.surrogate_from]
                ).select(pl.all().cast(pl.String).fill_null(""))
                surrogate = parts.select(
                    pl.concat_str([pl.lit(f"surrogate:{contract.feed}"), *parts.columns], separator=_UNIT)
                ).to_series()
                has_number = number.is_not_null()
                number = pl.select(pl.when(has_number).then(number).otherwise(surrogate)).to_series()
                basis = pl.select(pl.when(has_number).then(basis).otherwise(pl.lit("surrogate"))).to_series()
            sources[identity.column] = number
        columns: list[pl.Series] = []
        vault_parts: list[tuple[Column, pl.Series, pl.Series]] = []
        tokens: dict[str, pl.Series] = {}
        if sources:
            source_frame = pl.DataFrame([series.alias(name) for name, series in sources.items()])
            made = source_frame.select([self.key.hmac_expression(name).alias(name) for name in sources])
            tokens = {name: made[name] for name in sources}
        for column in contract.columns:
            if column.landed_name is None:
                continue
            if column.token:
                columns.append(tokens[column.name].alias(column.token))
                is_person = contract.identity is not None and contract.identity.column == column.name
                kind = basis if is_person and basis is not None else pl.repeat("id_number", frame.height, eager=True)
                vault_parts.append((column, sources[column.name], kind))
            else:
                columns.append(typed[column.name].alias(column.landed_name))
        if basis is not None:
            columns.append(basis.alias("token_basis"))
        landing = pl.DataFrame(columns)
        # the text that COPY will read is also what the row's hash is taken of
        lines = to_copy_lines(landing)
        hashed = landing.select(
            pl.concat_str(
                [pl.lit(contract.feed), *(pl.col(c.landed_name or "").cast(pl.String) for c in contract.key)],
                separator=_UNIT,
            ).alias("record_key"),
            lines.alias("record_hash"),
        ).select(digest("record_key"), digest("record_hash"))
        keys = binary_halves(hashed["record_key"].fill_null(_NO_HASH))
        hashed = hashed.select(pl.all().bin.encode("hex"))
        scope = (
            pl.concat_str([pl.col(name).cast(pl.String) for name in contract.scope], separator="|")
            if contract.scope
            else pl.lit("*")
        )
        rows = landing.with_columns(
            hashed["record_key"],
            scope.alias("scope_key"),
            hashed["record_hash"],
            frame[LINE].alias("source_line"),
            lines.alias(COPY_LINE),
        )
        return rows, vault_parts, keys

    def _repeated_keys(self, keys: Hashes, bad: pl.Series) -> pl.Series:
        """Good rows whose key a good row before them has."""
        concerned = ~bad.to_numpy() & (keys[:, 1] != 0)
        repeated = np.zeros(len(keys), bool)
        repeated[concerned] = self._seen_keys.add(keys[concerned, 0])
        return pl.Series(repeated)

    def _vault(
        self,
        parts: list[tuple[Column, pl.Series, pl.Series]],
        typed: dict[str, pl.Series],
        rows: pl.DataFrame,
        good: pl.Series,
    ) -> pl.DataFrame:
        """Identities of good rows, each tied to its record, so that only those of what lands are written."""
        frames = []
        for column, identifier, basis in parts:
            name = typed[column.name_column] if column.name_column else pl.Series([None] * rows.height, dtype=pl.String)
            part = pl.DataFrame(
                [
                    rows[column.token or ""].alias("person_token"),
                    basis.alias("token_basis"),
                    identifier.alias("identifier"),
                    name.alias("person_name"),
                    rows["record_key"],
                ]
            ).filter(good & rows[column.token or ""].is_not_null())
            kind = (
                pl.when(pl.col("token_basis") == "surrogate")
                .then(pl.lit("surrogate"))
                .otherwise(pl.lit(column.identifier_kind or column.name))
            )
            frames.append(part.with_columns(kind.alias("identifier_kind")).select(list(VAULT_SCHEMA)))
        return pl.concat(frames) if frames else pl.DataFrame(schema=VAULT_SCHEMA)

    def _quarantine(
        self,
        problems: list[_Problem],
        frame: pl.DataFrame,
        joined: pl.Series,
        width_rows: list[WidthProblem],
        landing: pl.DataFrame,
    ) -> pl.DataFrame:
        if not problems and not width_rows:
            return pl.DataFrame(schema=QUARANTINE_SCHEMA)
        records: list[tuple[object, ...]] = []
        headers = self.table.header.headers
        for problem in problems:
            column = self.contract.by_name.get(problem.column)
            lines = frame[LINE].filter(problem.mask).to_list()
            rows = joined.filter(problem.mask).to_list()
            records_meant = landing.filter(problem.mask).select("scope_key", "record_key").rows()
            if problem.column in frame.columns:
                values = frame[problem.column].filter(problem.mask).to_list()
            else:
                values = [None] * len(lines)
            header = headers.get(problem.column, column.header if column else "")
            detail = problem.detail
            differences: list[object] = [""] * len(lines)
            if problem.difference is not None:
                differences = problem.difference.filter(problem.mask).to_list()
            for line, row, value, difference, meant in zip(
                lines, rows, values, differences, records_meant, strict=True
            ):
                shown = masked(value, column)
                english, chinese = row_messages(
                    problem.rule, problem.column, header, shown, detail, difference=str(difference)
                )
                records.append(
                    (
                        line,
                        problem.column,
                        header,
                        problem.rule,
                        shown,
                        english,
                        chinese,
                        self.key.token(row.removesuffix(_SEPARATOR)),
                        *meant,
                    )
                )
            self.counts.by_rule[problem.rule] += len(lines)
            self.counts.by_rule_column[problem.rule, problem.column] += len(lines)
        for item in width_rows:
            english, chinese = (
                row_messages("row.width", _ROW, "", "", f"{item.fields} fields, the header has {item.expected}")[0],
                row_messages("row.width", _ROW, "", "", f"{item.fields}列，表头为{item.expected}列")[1],
            )
            told = self.key.token(item.text)
            records.append((item.line, _ROW, "", "row.width", "", english, chinese, told, None, None))
        self.counts.by_rule["row.width"] += len(width_rows)
        return pl.DataFrame(records, schema=QUARANTINE_SCHEMA, orient="row")
