"""Damages in any combination, and a short run of the fuzzer: no crash, no hang, no row unaccounted for.

What: Hypothesis draws mutators of the matrix, in any number and order, for one golden delivery; what the fuzzer found
is kept as a test. Why: bad rows come in company. How to fix: Hypothesis prints the mutators and the row of each.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ingest
from ingest import Contract
from tests.ingest.golden import PUPIL_NAME, Row, csv_text, id_number, pupil
from tests.ingest.matrix.fuzz_readers import examine, run
from tests.ingest.matrix.night import NAMES, OTHER_SCHOOL, Night, golden
from tests.ingest.matrix.old_excel import xls_bytes

RowMutator = Callable[[list[Row], int], None]
TextMutator = Callable[[str, int], str]
BytesMutator = Callable[[bytes, int], bytes]


def _set(**changes: str) -> RowMutator:
    def mutator(rows: list[Row], at: int) -> None:
        rows[at % len(rows)].update(changes)

    return mutator


def _insert(make: Callable[[Row], Row]) -> RowMutator:
    def mutator(rows: list[Row], at: int) -> None:
        rows.insert(at % (len(rows) + 1), make(rows[at % len(rows)]))

    return mutator


ROWS: dict[str, RowMutator] = {
    "wrong_check_digit": _set(证件号码=id_number(3)[:17] + "A"),
    "scientific": _set(证件号码="6.49901E+17"),
    "placeholder": _set(证件号码="111111111111111111"),
    "sex": _set(性别="未知"),
    "birth": _set(出生日期="2008-02-30"),
    "county": _set(县代码="640400"),
    "leading_zero": _set(民族="3"),
    "control_character": _set(班级="0\x071"),
    "nul": _set(户口性质="\x00"),
    "test_name": _set(姓名="测试"),
    "empty_name": _set(姓名=""),
    "long_name": _set(姓名="马" * 5000),
    "formula": _set(姓名="=cmd|'/C calc'!A0"),
    "quoted": _set(姓名='马"小"明'),
    "newline": _set(姓名="马\n小明"),
    "carriage_return": _set(监护人姓名="马\r大山"),
    "separator": _set(姓名="马\u2028小\u0085明"),
    "null_word": _set(学段="#N/A"),
    "exact_duplicate": _insert(dict),
    "same_key": _insert(lambda row: {**row, "班级": "02"}),
    "two_schools": _insert(lambda row: {**row, "学校标识码": OTHER_SCHOOL}),
    "two_names": _insert(lambda row: {**row, "学校标识码": OTHER_SCHOOL, "姓名": "周扒皮"}),
    "blank": _insert(lambda row: dict.fromkeys(row, "")),
    "total": _insert(lambda row: {**dict.fromkeys(row, ""), "学年": "合计"}),
    "footer": _insert(lambda row: {**dict.fromkeys(row, ""), "学年": "填报人:马某"}),
}


def _at_line(change: Callable[[str], str]) -> TextMutator:
    def mutator(text: str, at: int) -> str:
        lines = text.split("\n")
        place = 1 + at % max(1, len(lines) - 1)
        if place < len(lines):
            lines[place] = change(lines[place])
        return "\n".join(lines)

    return mutator


TEXTS: dict[str, TextMutator] = {
    "title": lambda text, at: "2016年西吉县学籍表\n" + text,
    "empty_line": _at_line(lambda line: "\n" + line),
    "comma_line": _at_line(lambda line: "," * 23 + "\n" + line),
    "field_more": _at_line(lambda line: line.rstrip("\r") + ",多"),
    "field_less": _at_line(lambda line: line.rpartition(",")[0]),
    "open_quote": _at_line(lambda line: line.replace(",", ',"', 1)),
    "tab": _at_line(lambda line: line.replace(",", "\t", 2)),
    "full_width_comma": _at_line(lambda line: line.replace(",", "，", 1)),
    "carriage_returns": lambda text, at: text.replace("\r\n", "\n").replace("\n", "\r"),
    "line_feeds": lambda text, at: text.replace("\r\n", "\n"),
    "no_final_newline": lambda text, at: text.rstrip("\r\n"),
    "alias": lambda text, at: text.replace("证件号码", "身份证号", 1),
    "unknown_column": lambda text, at: text.replace("班级", "班组", 1),
    "cut": lambda text, at: text[: len(text) - at],
}
BYTES: dict[str, BytesMutator] = {
    "invalid_byte": lambda data, at: data[: at * 7] + b"\xff" + data[at * 7 :],
    "mark": lambda data, at: b"\xef\xbb\xbf" + data,
    "nul_byte": lambda data, at: data[: at * 7] + b"\0" + data[at * 7 :],
    "zip": lambda data, at: b"PK\x03\x04" + data,
    "end_of_file": lambda data, at: data + b"\x1a",
}

_PLACE = st.integers(0, 60)


def _some(mutators: list[str], most: int) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(mutators), _PLACE), max_size=most)


DAMAGES = st.tuples(
    _some(sorted(ROWS), 6),
    _some(sorted(TEXTS), 3),
    _some(sorted(BYTES), 1),
    st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16"]),
)
Damages = tuple[list[tuple[str, int]], list[tuple[str, int]], list[tuple[str, int]], str]


def damaged(damages: Damages) -> bytes:
    """The golden delivery with damages."""
    in_rows, in_text, in_bytes, encoding = damages
    rows = golden("pupil")
    for name, at in in_rows:
        ROWS[name](rows, at)
    text = csv_text(rows)
    for name, at in in_text:
        text = TEXTS[name](text, at)
    data = text.encode(encoding)
    for name, at in in_bytes:
        data = BYTES[name](data, at)
    return data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages=DAMAGES)
def test_any_combination_is_read_or_rejected(damages: Damages, tmp_path: Path, contracts: dict[str, Contract]) -> None:
    path = tmp_path / PUPIL_NAME
    path.write_bytes(damaged(damages))
    examine(path, contracts)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=DAMAGES, second=DAMAGES)
def test_any_combination_is_loaded_whole_or_not_at_all(first: Damages, second: Damages, night: Night) -> None:
    """Two deliveries, one after the other: what a load says is what the tables hold."""
    with_empty(night)
    for day, damages in enumerate((first, second), 20):
        night.raw(NAMES["pupil"].replace("20161020", f"201610{day}"), damaged(damages))
        report = night.load("pupil")
        assert {file.status for file in report.files} <= {"landed", "unchanged", "rejected", "same_content"}
    before = night.sql("select count(*), max(load_id) from ledger.load")
    assert all(file.is_repeated for file in night.load("pupil").files)
    assert night.sql("select count(*), max(load_id) from ledger.load") == before


def with_empty(night: Night) -> None:
    """Forget what another example loaded."""
    from tests.ingest.matrix.test_faults import empty_again

    shutil.rmtree(night.root)
    night.root.mkdir()
    empty_again(night)


def test_the_fuzzer_finds_nothing_in_a_short_run() -> None:
    outcomes, findings = run(12, 20160615, ("csv", "csv", "xlsx", "csv", "xls"), most=400)
    assert findings == []
    assert sum(amount for outcome, amount in outcomes.items() if "checked" in outcome) > 10
    assert sum(amount for outcome, amount in outcomes.items() if "rejected" in outcome) > 10


@pytest.mark.parametrize("column", [200, 16_383])
def test_a_stray_cell_far_out_is_named(column: int, tmp_path: Path, contracts: dict[str, Contract]) -> None:
    """Found by the fuzzer: the reader lays out a full grid, which took all memory and the process with it."""
    path = tmp_path / PUPIL_NAME.replace(".csv", ".xlsx")
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, list(pupil(1)))
    sheet.write_row(1, 0, list(pupil(1).values()))
    sheet.write(1_048_575, column, "x")
    book.close()
    rejection = ingest.check_file(path, contracts).report.rejection
    assert rejection is not None
    assert (rejection.rule, rejection.line) == ("file.damaged", 1_048_576)
    assert "far outside the table" in rejection.message_en
    assert "多余的单元格" in rejection.message_zh


def test_an_old_workbook_that_kills_its_reader_is_rejected(tmp_path: Path, contracts: dict[str, Contract]) -> None:
    """Found by the fuzzer: an offset beyond the file made the reader ask for 500 terabytes and abort."""
    rows = golden("pupil", 3)
    content = bytearray(xls_bytes({"表": [list(rows[0]), *[list(map(str, row.values())) for row in rows]]}))
    path = tmp_path / PUPIL_NAME.replace(".csv", ".xls")
    path.write_bytes(content)
    assert ingest.check_file(path, contracts).report.rows_landed == 3
    bound_sheet = content.index(b"\x85\x00")
    content[bound_sheet + 6] = 0xFF
    path.write_bytes(content)
    rejection = ingest.check_file(path, contracts).report.rejection
    assert rejection is not None
    assert rejection.rule == "file.damaged"
    assert "工作簿" in rejection.message_zh


def test_a_panic_of_the_reader_is_a_rejection(
    tmp_path: Path, contracts: dict[str, Contract], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the fuzzer: Rust's panic is a BaseException and went through every ``except Exception``."""

    class PanicException(BaseException):
        pass

    class Panicking:
        @staticmethod
        def from_path(path: Path) -> None:
            raise PanicException("range start index 116 out of range")

    monkeypatch.setattr("ingest.xlsx_reader.CalamineWorkbook", Panicking)
    path = tmp_path / PUPIL_NAME.replace(".csv", ".xlsx")
    book = xlsxwriter.Workbook(str(path))
    book.add_worksheet().write(0, 0, "x")
    book.close()
    rejection = ingest.check_file(path, contracts).report.rejection
    assert rejection is not None
    assert (rejection.rule, "PanicException" in rejection.message_en) == ("file.damaged", True)
