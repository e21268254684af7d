"""Defect injector: damages the written cells as real extracts are damaged, and keeps a manifest of every damage.

Each kind names the row of the messiness catalogue (M01-M38), of the bad-input list (B and its number) or of the code
reference (R36: grade spellings) that it imitates, what must become of it, and the rule (or the normalizer) that must
catch it. The rates stay far below what a sane gate would block: at most one quarantined row in 400 of any file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from simulator.identity import check_character, is_valid_id
from simulator.render import HEADERS, FeedFile

DEFECT_COLUMNS = ("defect_id", "file", "sheet", "line", "column", "original", "written", "outcome", "rule")
NORMALIZED, QUARANTINED, EXACT, REJECTED, SAME = (
    "normalized",
    "quarantined",
    "exact_duplicate",
    "file_rejected",
    "same_content",
)
ROWS_PER_QUARANTINE = 400
ROWS_PER_UNKNOWN = 30
#: events by which a pupil comes, as the files spell them
_ARRIVALS = ("转入", "复学")
NOT_BREAKING = "\u00a0"
IDEOGRAPHIC = "\u3000"

Row = dict[str, str | None]
Change = Callable[[str, Row], str | None]


@dataclass(frozen=True)
class Defect:
    """One line of the manifest; ``line`` counts physical lines (csv) or sheet rows (xlsx) from 1."""

    defect_id: str
    file: str
    sheet: str
    line: int
    column: str
    original: str
    written: str
    outcome: str
    rule: str

    def as_row(self) -> tuple[str | int, ...]:
        """Return the cells in the order of ``DEFECT_COLUMNS``."""
        return (
            self.defect_id,
            self.file,
            self.sheet,
            self.line,
            self.column,
            self.original,
            self.written,
            self.outcome,
            self.rule,
        )


@dataclass
class Injection:
    """The damaged files, the files that must be rejected, the manifest, and the canonical rows that do not survive."""

    files: list[FeedFile]
    rejected: list[FeedFile] = field(default_factory=list)
    manifest: list[Defect] = field(default_factory=list)
    removed: dict[str, set[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One kind of damage to one cell.

    Attributes:
        defect_id: catalogue row, with a letter where a row has several kinds.
        contract: feed.
        column: damaged column.
        outcome: what must become of the row.
        rule: rule that quarantines it, or normalizer that repairs it.
        where: which rows can be damaged (expression over the text columns).
        change: new text of the cell, or None when this row does not fit after all.
        formats: file formats in which the damage can occur.
        prefer: take the first fitting rows of this ordering instead of random ones.
    """

    defect_id: str
    contract: str
    column: str
    outcome: str
    rule: str
    where: pl.Expr
    change: Change
    formats: tuple[str, ...] = ("csv", "xlsx")
    counties: tuple[str, ...] = ()
    years: tuple[int, int] = (0, 9999)
    prefer: pl.Expr | None = None


def _filled(column: str) -> pl.Expr:
    return pl.col(column).is_not_null() & (pl.col(column) != "")


def _always(_: str, __: Row) -> str | None:
    return None


def _wide(text: str, _: Row) -> str | None:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _wrong_check(text: str, _: Row) -> str | None:
    return text[:17] + ("X" if text[17] != "X" else "1") if is_valid_id(text[:18]) else None


def _excel(text: str, _: Row) -> str | None:
    damaged = text[:15] + "000"
    return None if is_valid_id(damaged) else damaged


def _float(text: str, _: Row) -> str | None:
    if text.endswith("X"):
        return None
    damaged = str(int(float(text)))
    # Only where the float keeps the birth date, so that the check digit is what is wrong.
    usable = damaged[6:14] == text[6:14] and len(damaged) == 18 and damaged != text and not damaged.endswith("000")
    return damaged if usable and not is_valid_id(damaged) else None


def _scientific(text: str, _: Row) -> str | None:
    return f"{text[0]}.{text[1:6]}E+17"


def _other_sex(text: str, _: Row) -> str | None:
    return {"男": "女", "女": "男"}.get(text)


def _other_day(text: str, _: Row) -> str | None:
    """Move an ISO date by one day within the month."""
    if len(text) != 10 or text[4] != "-":
        return None
    day = int(text[8:])
    return f"{text[:8]}{day - 1 if day > 1 else day + 1:02d}"


def _other_number(text: str, _: Row) -> str | None:
    """Give the student number of someone else: another sequence of the same sex, with a valid check digit."""
    if not text.startswith("G"):
        return None
    serial = (int(text[15:18]) + 2) % 1000
    body = f"{text[1:15]}{serial:03d}"
    return f"G{body}{check_character(body)}"


def _alias(text: str, _: Row) -> str | None:
    return {
        "640402": "固原市原州区",
        "640303": "红寺堡",
        "640522": "海源县",
        "640422": "西吉縣",
        "640423": "隆德",
        "640104": "银川市兴庆区",
    }.get(text)


def _colloquial(text: str, _: Row) -> str | None:
    return {
        "一年级": "小一",
        "三年级": "小学三年级",
        "七年级": "初一",
        "九年级": "初三",
        "高一": "高中一年级",
        "大班": "学前班",
    }.get(text)


def _inside(text: str, _: Row) -> str | None:
    return f"{text[0]}{IDEOGRAPHIC}{text[1:]}" if len(text) == 2 else None


def _fixed(value: str) -> Change:
    return lambda _, __: value


def _chinese_month(text: str, _: Row) -> str | None:
    digits = "〇一二三四五六七八九"
    month = int(text[4:6])
    words = digits[month] if month < 10 else "十" + (digits[month - 10] if month > 10 else "")
    return "".join(digits[int(c)] for c in text[:4]) + "年" + words + "月"


def _utc(text: str, _: Row) -> str | None:
    """Write an ISO date as the UTC timestamp of midnight in China."""
    if len(text) != 10 or text[4] != "-" or text[8:] == "01":
        return None
    return f"{text[:8]}{int(text[8:]) - 1:02d}T16:00:00Z"


def _midnight(text: str, _: Row) -> str | None:
    return f"{text} 00:00:00" if len(text) == 10 and text[4] == "-" else None


def _more_boarders(_: str, row: Row) -> str | None:
    return str(int(row["enrollment_count"] or 0) + 3)


def kinds() -> list[Kind]:
    """Return the catalogue of cell damages, in the order of injection."""
    id_filled = _filled("id_number")
    g_number = pl.col("student_number").str.starts_with("G")
    adult = ~pl.col("birth_date").str.contains("20")
    iso = pl.col("birth_date").str.contains(r"^\d{4}-\d{2}-\d{2}$")
    iso_event = pl.col("event_date").str.contains(r"^\d{4}-\d{2}-\d{2}$")
    junior = pl.col("grade").is_in(["九年级"])
    n, q = NORMALIZED, QUARANTINED
    history = (2007, 2014)
    small = pl.col("enrollment_count").cast(pl.Int64, strict=False)
    return [
        # what the normalizers repair
        Kind("M04a", "pupil", "id_number", n, "nfkc", id_filled, _wide),
        Kind("M08", "pupil", "id_number", n, "upper", pl.col("id_number").str.ends_with("X"), lambda t, _: t.lower()),
        Kind("M07a", "pupil", "id_number", n, "apostrophe", id_filled, lambda t, _: "'" + t),
        Kind("M07b", "poor_person", "poverty_year", n, "thousands", adult, lambda t, _: f"{t[0]},{t[1:]}"),
        Kind("M07c", "pupil", "home_area_code", n, "decimal_zero", _filled("home_area_code"), lambda t, _: t + ".0"),
        Kind(
            "M04b",
            "pupil",
            "school_code",
            n,
            "trim",
            _filled("school_code"),
            lambda t, _: NOT_BREAKING + t + NOT_BREAKING,
        ),
        Kind("M04c", "pupil", "pupil_name", n, "han_space", pl.col("pupil_name").str.len_chars() == 2, _inside),
        Kind("M04d", "poor_person", "exit_year", n, "nfkc", _filled("exit_year"), _wide),
        Kind(
            "M03a",
            "pupil",
            "pupil_name",
            n,
            "middle_dot",
            pl.col("pupil_name").str.contains("·"),
            lambda t, _: t.replace("·", "\u2022"),
        ),
        Kind(
            "M03b",
            "poor_person",
            "person_name",
            n,
            "middle_dot",
            pl.col("person_name").str.contains("·"),
            lambda t, _: t.replace("·", "\u30fb"),
        ),
        Kind(
            "M09a",
            "pupil",
            "class_number",
            n,
            "pad_two",
            pl.col("class_number").str.starts_with("0"),
            lambda t, _: t[1:],
        ),
        Kind("M12a", "pupil", "birth_date", n, "date_form", iso, _midnight),
        Kind("M12b", "pupil", "enrolled_on", n, "date_form", _filled("enrolled_on"), _chinese_month),
        Kind("M37", "student_event", "event_date", n, "date_form", iso_event, _utc),
        Kind(
            "M15a",
            "poor_person",
            "out_of_school_reason",
            n,
            "null_word",
            pl.col("out_of_school_reason").is_null() & adult,
            _fixed("无"),
        ),
        Kind("M15b", "student_event", "reason", n, "null_word", pl.col("reason").is_null(), _fixed("NULL")),
        Kind(
            "M15c",
            "school",
            "central_school_code",
            n,
            "null_word",
            pl.col("central_school_code").is_null(),
            _fixed("#N/A"),
        ),
        Kind("M16a", "pupil", "is_orphan", n, "boolean", pl.col("is_orphan") == "否", _fixed("×")),
        Kind("M16b", "pupil", "is_migrant_child", n, "boolean", pl.col("is_migrant_child") == "是", _fixed("√")),
        Kind(
            "M25a",
            "pupil",
            "county_code",
            n,
            "code_list",
            _filled("county_code"),
            _alias,
            counties=("640402", "640303", "640522", "640423"),
        ),
        Kind(
            "M35", "student_event", "county_code", n, "code_list", _filled("county_code"), _alias, counties=("640422",)
        ),
        Kind(
            "M25b",
            "poor_person",
            "county_code",
            n,
            "code_list",
            _filled("county_code"),
            _alias,
            counties=("640522", "640402"),
        ),
        Kind("B65", "pupil", "sex", n, "code_list", pl.col("sex") == "男", _fixed("1")),
        Kind(
            "R36",
            "pupil",
            "grade",
            n,
            "code_list",
            pl.col("grade").is_in(["一年级", "七年级", "九年级", "高一"]),
            _colloquial,
        ),
        Kind(
            "M30",
            "disabled_child",
            "component_types",
            n,
            "list_separator",
            pl.col("component_types").str.contains("、"),
            lambda t, _: t.replace("、", ","),
        ),
        Kind(
            "M36",
            "student_event",
            "reason",
            n,
            "collapse_space",
            pl.col("reason").str.len_chars() >= 4,
            lambda t, _: t[:2] + "\n" + t[2:],
            ("csv",),
        ),
        # what must go to quarantine
        Kind("M05a", "pupil", "id_number", q, "id.excel_truncated", id_filled, _excel),
        Kind("M05b", "pupil", "id_number", q, "id.scientific", id_filled, _scientific),
        Kind("M05c", "poor_person", "id_number", q, "id.excel_truncated", id_filled, _excel),
        Kind("M06", "poor_person", "id_number", q, "id.checksum", id_filled, _float),
        Kind(
            "B36a",
            "pupil",
            "id_number",
            q,
            "id.checksum",
            id_filled & pl.col("stage").is_in(["小学", "初中"]),
            _wrong_check,
            prefer=pl.col("_poor"),
        ),
        Kind("B36b", "pupil", "id_number", q, "id.checksum", id_filled & (pl.col("stage") == "特殊教育"), _wrong_check),
        Kind("M26", "pupil", "id_number", q, "id.placeholder", id_filled, _fixed("000000000000000000")),
        Kind("B40a", "pupil", "birth_date", q, "id.birth_mismatch", id_filled & iso, _other_day),
        Kind("B40b", "pupil", "sex", q, "id.sex_mismatch", id_filled, _other_sex),
        Kind("B43", "pupil", "student_number", q, "student_number.mismatch", id_filled & g_number, _other_number),
        Kind(
            "M12c",
            "poor_person",
            "birth_date",
            q,
            "type.date",
            pl.col("birth_date").str.contains("^20"),
            _fixed("2017-02-30"),
        ),
        Kind(
            "M12d", "student_event", "event_date", q, "date.out_of_range", _filled("event_date"), _fixed("1999-09-09")
        ),
        Kind(
            "B56",
            "enrollment_count",
            "enrollment_count",
            q,
            "number.negative",
            (small == 1) & (pl.col("grade") == "四年级"),
            _fixed("-1"),
            years=history,
        ),
        Kind(
            "M13",
            "enrollment_count",
            "enrollment_count",
            q,
            "number.unit_text",
            pl.col("grade") == "一年级",
            lambda t, _: t + "人",
            years=(2007, 2012),
            prefer=-small,
        ),
        Kind(
            "B60",
            "enrollment_count",
            "boarder_count",
            q,
            "compare.greater_than",
            (small <= 12) & (pl.col("grade") == "八年级"),
            _more_boarders,
            years=history,
        ),
        Kind("B64", "poor_person", "exit_year", q, "number.out_of_range", _filled("exit_year"), _fixed("2058")),
        Kind("M27", "pupil", "grade", q, "age.implausible", junior, _fixed("一年级")),
        Kind("R36b", "pupil", "grade", q, "code.unknown", _filled("grade"), _fixed("十年级")),
        Kind(
            "M09b",
            "pupil",
            "ethnicity_code",
            q,
            "code.leading_zero_lost",
            pl.col("ethnicity_code").str.starts_with("0"),
            lambda t, _: t[1:],
        ),
        Kind("M18", "pupil", "school_code", q, "code.pattern", _filled("school_code"), lambda t, _: t[1:]),
        Kind(
            "B52",
            "pupil",
            "county_code",
            q,
            "county.mismatch",
            _filled("county_code"),
            lambda t, _: "640381" if t != "640381" else "640302",
        ),
        Kind("B82", "pupil", "pupil_name", q, "text.test_data", _filled("pupil_name"), _fixed("测试")),
        Kind(
            "B19",
            "student_event",
            "reason",
            q,
            "text.control_character",
            _filled("reason"),
            lambda t, _: t + "\x07",
            ("csv",),
        ),
        Kind("B67", "poor_person", "household_number", q, "required.missing", adult, _fixed("")),
        Kind("B66", "poor_person", "poverty_status", q, "code.unknown", adult, _fixed("稳定脱贫")),
        Kind("B36c", "poor_household", "head_id_number", q, "id.checksum", _filled("head_id_number"), _wrong_check),
    ]


class _Injector:
    """Keeps the edits of every file until all are chosen; only then are lines known."""

    def __init__(self, files: list[FeedFile], seed: int, poor_ids: set[str], scale_rows: int) -> None:
        self.rng = np.random.default_rng([seed, 81])
        self.files = files
        self.poor_ids = poor_ids
        self.per_kind = 1 if scale_rows < 100_000 else (2 if scale_rows < 1_000_000 else 4)
        self.edits: list[dict[int, dict[str, str]]] = [{} for _ in files]
        self.inserts: list[list[tuple[int, dict[str, str]]]] = [[] for _ in files]
        self.bad = [0] * len(files)
        # (file, row key, part of row, defect without line)
        self.notes: list[tuple[int, int, int, Defect]] = []
        self.removed: dict[str, set[int]] = {}
        self.taken: list[set[int]] = [set() for _ in files]
        # a pupil who leaves must stay on the register, or the event is quarantined too
        self.leavers: set[str] = set()
        for file in files:
            if file.contract == "student_event":
                self.leavers |= set(file.data.filter(~pl.col("event_type").is_in(_ARRIVALS))["student_number"])
        self.registered: set[str] = set()
        for file in files:
            if file.contract == "pupil":
                self.registered |= set(file.data["student_number"])
        self.kept: set[int] = set()

    def room(self, index: int) -> bool:
        return (self.bad[index] + 1) * ROWS_PER_QUARANTINE <= self.files[index].data.height

    def candidates(
        self, contract: str, formats: Iterable[str], counties: tuple[str, ...], years: tuple[int, int]
    ) -> list[int]:
        wanted = set(formats)
        found = [
            i
            for i, f in enumerate(self.files)
            if f.contract == contract
            and f.habit.format in wanted
            and (not counties or f.county in counties)
            and years[0] <= f.year <= years[1]
            and i not in self.kept
        ]
        return [found[k] for k in self.rng.permutation(len(found))] if found else []

    def note(
        self,
        index: int,
        key: int,
        part: int,
        kind: str,
        column: str,
        old: str,
        new: str,
        outcome: str,
        rule: str,
    ) -> None:
        file = self.files[index]
        sheet = file.sheet if file.is_xlsx else ""
        self.notes.append(
            (index, key, part, Defect(kind, file.path.as_posix(), sheet, 0, column, old, new, outcome, rule))
        )

    def damage(self, kind: Kind) -> int:
        """Inject one kind up to its number; returns how many were injected."""
        done = 0
        for index in self.candidates(kind.contract, kind.formats, kind.counties, kind.years):
            if done == self.per_kind:
                break
            if kind.outcome == QUARANTINED and not self.room(index):
                continue
            data = self.files[index].data
            if kind.prefer is not None and "id_number" in data.columns:
                data = data.with_columns(_poor=pl.col("id_number").is_in(sorted(self.poor_ids)))
            numbered = data.with_row_index("_key").filter(kind.where)
            if kind.prefer is not None:
                numbered = numbered.sort(kind.prefer, descending=True, nulls_last=True, maintain_order=True).head(5)
            else:
                numbered = (
                    numbered[self.rng.permutation(numbered.height)[:12].tolist()] if numbered.height else numbered
                )
            for row in numbered.iter_rows(named=True):
                key = int(row["_key"])
                if key in self.taken[index] or self._is_leaver(kind, row):
                    continue
                old = row[kind.column] or ""
                new = kind.change(old, row)
                if new is None or new == old:
                    continue
                self.taken[index].add(key)
                self.edits[index].setdefault(key, {})[kind.column] = new
                self.note(index, key, 0, kind.defect_id, kind.column, old, new, kind.outcome, kind.rule)
                if kind.outcome == QUARANTINED:
                    self.bad[index] += 1
                    self.removed.setdefault(kind.contract, set()).add(int(row["_row"]))
                done += 1
                break
        return done

    def _is_leaver(self, kind: Kind, row: Row) -> bool:
        return (kind.contract, kind.outcome) == ("pupil", QUARANTINED) and row["student_number"] in self.leavers

    def enroll_in_closed_school(self) -> None:
        """Move a pupil to a school that has been merged into another one (B69)."""
        closed: dict[str, list[tuple[int, str]]] = {}
        for file in self.files:
            if file.contract == "school":
                merged = file.data.filter(_filled("predecessor_codes"))["predecessor_codes"].to_list()
                codes = [code for text in merged for code in text.split("、")]
                closed.setdefault(file.county, []).extend((file.year, code) for code in codes)
        done = 0
        for index in self.candidates("pupil", ("csv", "xlsx"), tuple(closed), (0, 9999)):
            file = self.files[index]
            codes = [code for year, code in closed[file.county] if year <= file.year]
            if done == self.per_kind or not codes or not self.room(index):
                continue
            for key in self.rng.permutation(file.data.height)[:20].tolist():
                row = file.data.row(key, named=True)
                if key in self.taken[index] or row["student_number"] in self.leavers:
                    continue
                self._quarantine(index, key, "B69", "school_code", codes[0], "reference.closed_school")
                done += 1
                break

    def _quarantine(self, index: int, key: int, kind: str, column: str, new: str, rule: str) -> None:
        data = self.files[index].data
        self.taken[index].add(key)
        self.edits[index].setdefault(key, {})[column] = new
        self.note(index, key, 0, kind, column, data[column][key] or "", new, QUARANTINED, rule)
        self.bad[index] += 1
        self.removed.setdefault(self.files[index].contract, set()).add(int(data["_row"][key]))

    def report_unknown_leaver(self) -> None:
        """Insert the withdrawal of a pupil who stood in no register (B80); a file may be small, for no row is lost."""
        first = min(file.year for file in self.files if file.contract == "student_event")
        done = 0
        for index in self.candidates("student_event", ("csv", "xlsx"), (), (first + 1, 9999)):
            data = self.files[index].data
            if done == self.per_kind or self.bad[index] or data.height < ROWS_PER_UNKNOWN:
                continue
            found = data.with_row_index("_key").filter(
                ~pl.col("event_type").is_in(_ARRIVALS) & pl.col("student_number").str.starts_with("G")
            )
            for row in found.iter_rows(named=True):
                key = int(row["_key"])
                number = str(row["student_number"])[1:]
                body = f"{number[:14]}{(int(number[14:17]) + 998) % 1000:03d}"
                invented = body + check_character(body)
                if key in self.taken[index] or row["id_number"] != number or f"G{invented}" in self.registered:
                    continue
                cells = {
                    "event_number": f"{row['event_number']}9",
                    "student_number": f"G{invented}",
                    "id_number": invented,
                }
                self.taken[index].add(key)
                self.inserts[index].append((key, cells))
                new = cells["student_number"]
                self.note(index, key, 1, "B80", "student_number", "", new, QUARANTINED, "reference.unknown_pupil")
                self.bad[index] += 1
                done += 1
                break

    def repeat(self, contract: str, kind: str, outcome: str, rule: str, column: str, change: Change) -> None:
        """Insert a second copy of a row behind it: exactly equal, or with one other cell."""
        done = 0
        for index in self.candidates(contract, ("csv", "xlsx"), (), (0, 9999)):
            if done == self.per_kind:
                break
            if not self.room(index):
                continue
            data = self.files[index].data
            for key in self.rng.permutation(data.height)[:20].tolist():
                row = data.row(key, named=True)
                old = row[column] or ""
                new = change(old, row) if outcome == QUARANTINED else old
                if key in self.taken[index] or new is None:
                    continue
                self.taken[index].add(key)
                self.inserts[index].append((key, {column: new}))
                self.note(index, key, 1, kind, column, old, new, outcome, rule)
                self.bad[index] += 1
                done += 1
                break

    def cut(self) -> None:
        """Write only the first fields of a csv row (pupil register)."""
        done = 0
        for index in self.candidates("pupil", ("csv",), (), (0, 9999)):
            if done == self.per_kind:
                break
            if not self.room(index):
                continue
            data = self.files[index].data
            key = int(self.rng.integers(data.height))
            if key in self.taken[index] or data["student_number"][key] in self.leavers:
                continue
            self.taken[index].add(key)
            fields = len(self.files[index].columns) - 6
            self.edits[index].setdefault(key, {})["_cut"] = str(fields)
            self.note(
                index,
                key,
                0,
                "B26",
                "*",
                str(len(self.files[index].columns)),
                str(fields),
                QUARANTINED,
                "row.width",
            )
            self.bad[index] += 1
            self.removed.setdefault("pupil", set()).add(int(data["_row"][key]))
            done += 1

    def finish(self) -> Injection:
        """Apply the edits, find the lines and build the manifest."""
        result = Injection(self.files, removed=self.removed)
        place: dict[tuple[int, int, int], int] = {}
        for index, file in enumerate(self.files):
            if not self.edits[index] and not self.inserts[index]:
                continue
            data = file.data.with_row_index("_key").with_columns(_part=pl.lit(0, dtype=pl.Int64))
            by_column: dict[str, dict[int, str]] = {}
            cuts: dict[int, int] = {}
            for key, cells in self.edits[index].items():
                for column, text in cells.items():
                    if column == "_cut":
                        cuts[key] = int(text)
                    else:
                        by_column.setdefault(column, {})[key] = text
            for column, texts in by_column.items():
                values: list[str | None] = data[column].to_list()
                for key, text in texts.items():
                    values[key] = text or None
                data = data.with_columns(pl.Series(column, values, dtype=pl.String))
            extra = []
            for key, cells in self.inserts[index]:
                copy = data.filter(pl.col("_key") == key).with_columns(
                    _part=pl.lit(1, dtype=pl.Int64), _row=pl.lit(None, dtype=pl.Int64)
                )
                extra.append(copy.with_columns(pl.lit(v or None, dtype=pl.String).alias(c) for c, v in cells.items()))
            data = pl.concat([data, *extra]).sort("_key", "_part")
            for row, (key, part) in enumerate(data.select("_key", "_part").iter_rows()):
                place[index, key, part] = row
            file.data = data.drop("_key", "_part")
            file.cut_rows = {place[index, key, 0]: fields for key, fields in cuts.items()}
        for index, key, part, defect in self.notes:
            row = place[index, key, part]
            result.manifest.append(replace(defect, line=self.files[index].line_of(row)))
        return result


def inject(files: list[FeedFile], tables: dict[str, pl.DataFrame], seed: int) -> Injection:
    """Damage the files in place.

    Args:
        files: clean files as made by ``feed_files``.
        tables: canonical tables (to find rows whose loss changes an indicator).
        seed: random seed.

    Returns:
        The files to write, among them resent and repeated ones; files that must be rejected; the manifest; and by
        contract the canonical rows that are quarantined.
    """
    poor = tables["poor_person"].filter(
        pl.col("school_status").is_in(["小学", "七年级", "八年级"]) & pl.col("id_number").is_not_null()
    )
    injector = _Injector(
        files, seed, set(poor["id_number"]), sum(f.data.height for f in files if f.contract == "pupil")
    )
    resent = _choose_resent(files)
    repeated = _choose_repeated(files)
    # A file that is rejected and resent, and one that comes twice, stay free of other damage.
    injector.kept = set(resent) | set(repeated)
    for kind in kinds():
        injector.damage(kind)
    injector.repeat(
        "pupil",
        "M19a",
        QUARANTINED,
        "duplicate.key",
        "class_number",
        lambda t, _: "99" if t != "99" else None,
    )
    injector.repeat("poor_person", "M19b", EXACT, "duplicate.exact", "person_name", _always)
    injector.repeat("student_event", "M19c", EXACT, "duplicate.exact", "event_number", _always)
    injector.cut()
    injector.enroll_in_closed_school()
    injector.report_unknown_leaver()
    result = injector.finish()
    _blank_rows(result, injector.kept)
    _resend(result, resent)
    _repeat_file(result, repeated)
    result.manifest.sort(key=lambda d: (d.file, d.line, d.defect_id, d.column))
    return result


def _choose_resent(files: list[FeedFile]) -> list[int]:
    wanted = (("pupil", "640424"), ("poor_household", "640323"))
    last = max(f.year for f in files if f.contract == "pupil")
    return [
        i for c, county in wanted for i, f in enumerate(files) if (f.contract, f.county, f.year) == (c, county, last)
    ]


def _choose_repeated(files: list[FeedFile]) -> list[int]:
    last = max(f.year for f in files if f.contract == "pupil")
    return [i for i, f in enumerate(files) if (f.contract, f.county, f.year) == ("disabled_child", "640402", last)]


def _blank_rows(result: Injection, kept: set[int]) -> None:
    """Leave blank rows behind the data of one csv and one workbook (M10)."""
    for kind in ("csv", "xlsx"):
        index = next(
            (
                i
                for i, f in enumerate(result.files)
                if f.contract == "pupil" and f.habit.format == kind and i not in kept
            ),
            None,
        )
        if index is None:
            continue
        file = result.files[index]
        file.blank_rows = 2
        line = file.line_of(file.data.height - 1) + 1 + len(file.totals)
        result.manifest.append(
            Defect(
                "M10",
                file.path.as_posix(),
                file.sheet if file.is_xlsx else "",
                line,
                "*",
                "",
                "",
                NORMALIZED,
                "row.total",
            )
        )


def _resend(result: Injection, chosen: list[int]) -> None:
    """The first delivery lacks a required column and is rejected; the corrected one comes a month later as (2)."""
    missing = {"pupil": "student_number", "poor_household": "household_number"}
    for index in chosen:
        file = result.files[index]
        column = missing[file.contract]
        result.rejected.append(replace(file, dropped_column=column))
        stem, _, ending = file.name.rpartition(".")
        day = str(int(stem[-8:]) + 100)
        file_name = f"{stem[:-8]}{day}(2).{ending}"
        bad = result.rejected[-1]
        header_line = len(bad.above()[0]) if bad.is_xlsx else 1
        if bad.is_xlsx and bad.habit.merged:
            header_line -= 1
        result.manifest.append(
            Defect(
                "M32",
                bad.path.as_posix(),
                bad.sheet if bad.is_xlsx else "",
                header_line,
                column,
                HEADERS[bad.contract][column],
                "",
                REJECTED,
                "header.missing_column",
            )
        )
        result.files[index] = replace(file, name=file_name)


def _repeat_file(result: Injection, chosen: list[int]) -> None:
    """The same content comes again under the name 最终版: nothing may change."""
    for index in chosen:
        file = result.files[index]
        stem, _, ending = file.name.rpartition(".")
        copy = replace(file, name=f"{stem}(最终版).{ending}")
        result.files.append(copy)
        result.manifest.append(
            Defect(
                "B10",
                copy.path.as_posix(),
                copy.sheet if copy.is_xlsx else "",
                0,
                "*",
                file.name,
                copy.name,
                SAME,
                "",
            )
        )


__all__ = ["DEFECT_COLUMNS", "Defect", "Injection", "inject", "kinds"]
