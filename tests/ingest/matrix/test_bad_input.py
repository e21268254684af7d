"""The bad-input matrix: 84 ways in which a delivery can be wrong, and what must become of each.

What: every case is made from the golden delivery by the mutator that its function is, loaded into a warehouse, and
judged: file rejected (R), rows quarantined (Q), a warning (W), accepted and normalized (A). Why: a loader is judged by
its bad days. How to fix: the failing case names its row of the matrix; its first line says what is expected.

Outcomes that belong to a gate (53, 54, 55, 84) are asked of the gate's own rules; 68 and 83 as the condition that one
would ask for.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from datetime import date, timedelta
from hashlib import sha256
from typing import Any

import pytest
import xlsxwriter

import ingest
from ingest.archives import MAX_RATIO
from ingest.values import id_check_character
from tests.ingest.golden import (
    PUPIL_NAME,
    VILLAGE,
    Row,
    csv_text,
    event,
    id_number,
    person,
    pupil,
)
from tests.ingest.matrix.night import (
    NAMES,
    OTHER_SCHOOL,
    SCHOOL,
    Night,
    Place,
    area,
    count,
    golden,
    household,
    payment,
    school,
)
from tests.ingest.matrix.old_excel import xls_bytes

Case = Callable[[Night], None]
CASES: dict[int, tuple[str, Case]] = {}
PUPIL = NAMES["pupil"]
LATER = PUPIL.replace("20161020", "20161120")


def bad(number: int, outcome: str) -> Callable[[Case], Case]:
    """Register a case under its row of the matrix."""

    def register(case: Case) -> Case:
        assert number not in CASES
        CASES[number] = (outcome, case)
        return case

    return register


def pupils_with(changes: dict[int, dict[str, Any]], rows: int = 24) -> list[Row]:
    """Golden pupils; ``changes`` by row, counted from 1, so that row n stands on line n + 1."""
    return [pupil(index, **changes.get(index, {})) for index in range(1, rows + 1)]


def workbook(rows: list[Row], *, sheets: int = 1, hidden: bool = False, numbers: frozenset[str] = frozenset()) -> bytes:
    """An xlsx with a header in its first row, text cells but for the columns ``numbers``."""
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    for position in range(sheets):
        sheet = book.add_worksheet(f"表{position + 1}")
        if hidden and position:
            sheet.hide()
        for line, row in enumerate([dict(zip(rows[0], rows[0], strict=True)), *rows]):
            for column, (name, value) in enumerate(row.items()):
                if line and name in numbers:
                    sheet.write_number(line, column, float(value))
                elif value != "":
                    sheet.write_string(line, column, str(value))
    book.close()
    return out.getvalue()


def patched(content: bytes, member: str, old: bytes, new: bytes) -> bytes:
    """An xlsx with a replacement made in one of its parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename == member:
                assert old in data
                data = data.replace(old, new)
            target.writestr(info.filename, data)
    return out.getvalue()


@bad(1, "R")
def zero_bytes(night: Night) -> None:
    night.raw(PUPIL, b"")
    night.rejected("pupil", "file.empty", en="no bytes", zh="空", file=PUPIL)


@bad(2, "R unless the manifest says 0")
def header_only(night: Night) -> None:
    night.text("pupil", csv_text(golden("pupil"))[: csv_text(golden("pupil")).index("\r\n") + 2])
    night.rejected("pupil", "file.header_only", line=1, en="no data row", zh="没有数据")
    night.raw(f"{PUPIL}.manifest.json", b'{"rows": 0}')
    assert night.accepted("pupil", 0).status in ("landed", "unchanged")


@bad(3, "R: not arrived")
def file_missing_behind_its_manifest(night: Night) -> None:
    night.raw(f"{PUPIL}.manifest.json", b'{"rows": 24}')
    report = night.load("pupil")
    assert report.files == ()
    assert report.not_arrived == (PUPIL,)
    assert report.to_json()["not_arrived"] == [PUPIL]


@bad(4, "R where the contract demands one")
def no_manifest(night: Night) -> None:
    night.changed("pupil", manifest={"required": True}, arrival={"maxLooks": 1})
    night.csv("pupil", golden("pupil"))
    first = night.load("pupil")
    reports = first.files or night.load("pupil").files
    reason = reports[0].rejection
    assert reason is not None
    assert (reason.rule, reason.file) == ("manifest.missing", PUPIL)
    assert "清单" in reason.message_zh
    assert night.sql("select count(*) from landing.pupil") == [(0,)]
    night.raw(f"{PUPIL}.manifest.json", b'{"rows": 24}')
    night.accepted("pupil", 24)


@bad(5, "R with both numbers")
def manifest_counts_other_rows(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    night.raw("E04_学籍/manifest.csv", f"file,rows\n{PUPIL_NAME},25\n".encode())
    report = night.rejected("pupil", "manifest.rows", en="says 25 rows, the file has 24", zh="25行，文件为24行")
    assert report.file_name == PUPIL


@bad(6, "R with the difference")
def manifest_has_other_total(night: Night) -> None:
    rows = golden("enrollment_count")
    total = sum(row["在校生数"] for row in rows)
    name = night.csv("enrollment_count", rows)
    night.raw(f"{name}.manifest.json", f'{{"rows": 24, "totals": {{"在校生数": {total + 7}}}}}'.encode())
    night.rejected("enrollment_count", "manifest.total", column="在校生数", en="difference -7", zh="相差-7")
    night.raw(f"{name}.manifest.json", f'{{"rows": 24, "totals": {{"在校生数": {total}}}}}'.encode())
    night.accepted("enrollment_count", 24)


@bad(7, "R")
def manifest_has_other_hash(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    night.raw(f"{PUPIL}.manifest.json", f'{{"sha256": "{sha256(b"other").hexdigest()}"}}'.encode())
    night.rejected("pupil", "manifest.hash", en="the file has", zh="文件为")


@bad(8, "A: nothing to do")
def same_file_again(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    night.accepted("pupil", 24)
    again = night.last("pupil")
    assert (again.status, again.is_repeated, again.warnings) == ("same_content", True, ())
    assert night.sql("select count(*) from ledger.load") == [(1,)]


@bad(9, "R; an explicit restatement is taken")
def same_name_other_content(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    night.accepted("pupil", 24)
    other = pupils_with({3: {"班级": "02"}})
    night.csv("pupil", other)
    night.rejected("pupil", "file.changed_content", en=PUPIL, zh="内容不同")
    (night.root / PUPIL).unlink()
    night.csv("pupil", other, PUPIL.replace(".csv", "(2).csv"))
    report = night.accepted("pupil", 24)
    assert (report.rows_landed, report.rows_unchanged, report.rows_ended) == (1, 23, 1)


@bad(10, "A: nothing to do, W")
def other_name_same_content(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    night.accepted("pupil", 24)
    night.csv("pupil", golden("pupil"), LATER)
    report = night.last("pupil")
    assert report.status == "same_content"
    assert report.warnings == (f"{LATER}: same content as {PUPIL}, nothing to do",)
    assert night.sql("select count(*) from ledger.load") == [(1,)]


@bad(11, "R if a row is incomplete, else A")
def no_final_newline(night: Night) -> None:
    whole = csv_text(golden("pupil")).removesuffix("\r\n")
    night.text("pupil", whole[: whole.rindex(",马大山")])
    night.rejected("pupil", "file.damaged", line=25, en="ends inside a row: 22 of 24 fields", zh="截断")
    night.text("pupil", whole)
    night.accepted("pupil", 24)


@bad(12, "waits, then R")
def growing_file(night: Night) -> None:
    whole = csv_text(golden("pupil")).encode()
    part = f"{PUPIL}.part"
    night.raw(part, whole[:500])
    assert night.load("pupil").files == ()
    (night.root / part).unlink()
    night.changed("pupil", arrival={"done": True, "maxLooks": 2})
    night.raw(PUPIL, whole[:500])
    first = night.load("pupil")
    assert first.files == ()
    assert [item.file for item in first.waiting] == [PUPIL]
    night.load("pupil")
    night.rejected("pupil", "file.incomplete", file=PUPIL)
    night.raw(PUPIL, whole)
    night.raw(f"{PUPIL}.done", b"")
    night.accepted("pupil", 24)


@bad(13, "R")
def bad_archives(night: Night) -> None:
    inner = csv_text(golden("pupil")).encode()

    def zipped(members: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return out.getvalue()

    night.raw("断.zip", zipped({PUPIL_NAME: inner})[:400])
    night.raw("弹.zip", zipped({PUPIL_NAME: bytes(MAX_RATIO * 100_000)}))
    night.raw("套.zip", zipped({"内.zip": zipped({PUPIL_NAME: inner})}))
    night.raw("外.zip", zipped({f"../{PUPIL_NAME}": inner}))
    found = ingest.discover(night.root, night.contracts)
    assert {reason.file: reason.rule for reason in found.refused} == {
        "断.zip": "file.damaged", "弹.zip": "file.zip_unsafe", "套.zip": "file.zip_unsafe", "外.zip": "file.zip_unsafe",
    }  # fmt: skip
    assert all(found.offered[feed] == () for feed in night.contracts)
    for reason in found.refused:
        assert "压缩包" in reason.message_zh
    ingest.record_unrecognized(night.root, found, night.config)
    assert night.sql("select count(*) from ledger.load where status = 'rejected'") == [(4,)]
    night.raw(f"{PUPIL}.gz", gzip.compress(inner)[:-20])
    assert night.last("pupil").status == "rejected"
    assert night.sql("select rejection ->> 'rule' from ledger.load where feed = 'pupil'") == [("file.damaged",)]
    night.raw(f"{PUPIL}.gz", gzip.compress(inner))
    night.accepted("pupil", 24)


@bad(14, "R: not csv")
def other_formats_named_csv(night: Night) -> None:
    night.raw(PUPIL, workbook(golden("pupil")))
    night.rejected("pupil", "file.not_csv", en="a zip or xlsx file", zh="xlsx")
    night.raw(PUPIL, b"<!DOCTYPE html><html><body>login</body></html>")
    night.rejected("pupil", "file.not_csv", en="an HTML or XML page", zh="网页")


@bad(15, "A")
def byte_order_mark(night: Night) -> None:
    night.csv("pupil", golden("pupil"), encoding="utf-8-sig")
    assert night.accepted("pupil", 24).encoding == "utf-8-sig"


@bad(16, "A if declared, else R with a guess")
def rare_characters_in_gb18030(night: Night) -> None:
    rows = pupils_with({2: {"姓名": "马𠮷㐂"}})
    night.csv("pupil", rows, encoding="gb18030")
    assert night.accepted("pupil", 24).encoding == "gb18030"
    assert night.sql("select count(*) from vault.person_identity where person_name = '马𠮷㐂'") == [(1,)]
    night.csv("tried_grant", golden("tried_grant"), encoding="gb18030")
    night.rejected("tried_grant", "file.encoding", line=1, en="it decodes as GB18030", zh="可按GB18030解码")


@bad(17, "R with the byte")
def mixed_encodings(night: Night) -> None:
    start = csv_text(golden("pupil")).encode()
    night.raw(PUPIL, start + "马小明,".encode("gb18030") + b"\xff\r\n")
    night.rejected("pupil", "file.encoding", line=26, en=f"UTF-8 (byte {len(start)} does", zh=f"第{len(start)}字节")
    night.raw(PUPIL, b"\xef\xbb\xbf" + start + b"\xff\r\n")
    night.rejected("pupil", "file.encoding", line=26, en=f"byte {len(start) + 3} does", zh=f"第{len(start) + 3}字节")


@bad(18, "R")
def utf16(night: Night) -> None:
    night.csv("pupil", golden("pupil"), encoding="utf-16")
    night.rejected("pupil", "file.encoding", en="UTF-16", zh="UTF-16")


@bad(19, "Q")
def control_characters(night: Night) -> None:
    night.csv("pupil", pupils_with({2: {"班级": "0\x001"}, 5: {"户口性质": "农\x07业"}}))
    places = [Place(3, "class_number", "text.control_character"), Place(6, "hukou_type", "text.control_character")]
    report = night.last("pupil")
    found = night.sql("select line_number, column_name, rule from quarantine.rejected_row where rule like 'text%%'")
    assert {Place(*row) for row in found} == set(places)
    assert report.rows_quarantined == 2


@bad(20, "A for codes, R as delimiter")
def full_width(night: Night) -> None:
    wide = str.maketrans({c: chr(ord(c) + 0xFEE0) for c in "0123456789GX"})
    night.csv(
        "pupil",
        [
            {**row, "学校标识码": row["学校标识码"].translate(wide), "学籍号": row["学籍号"].translate(wide)}
            for row in golden("pupil")
        ],
    )
    night.accepted("pupil", 24, steps={"school_code.nfkc": 24, "student_number.nfkc": 24})
    assert night.sql("select distinct school_code from landing.pupil") == [(SCHOOL,)]
    night.text("pupil", csv_text(golden("pupil")).replace(",", "，"), LATER)
    night.rejected("pupil", "delimiter.unexpected", line=1, en="a full-width comma", zh="全角逗号")


@bad(21, "A trimmed, W")
def odd_blanks(night: Night) -> None:
    night.csv(
        "pupil",
        pupils_with(
            {1: {"学校标识码": "\u00a0" + SCHOOL}, 2: {"学校标识码": SCHOOL + "\u200b"}, 3: {"县代码": "\u3000640422"}}
        ),
    )
    report = night.accepted(
        "pupil",
        24,
        steps={"school_code.trim": 2, "county_code.trim": 1, "school_code.odd_blank": 2, "county_code.odd_blank": 1},
        warning="text.odd_blank: 2 cells of school_code (学校标识码)",
    )
    assert any("1 cells of county_code (县代码)" in text and "全角空格" in text for text in report.warnings)
    assert night.sql("select normalizations ->> 'school_code.odd_blank' from ledger.load") == [("2",)]
    assert night.sql("select distinct school_code, county_code from landing.pupil") == [(SCHOOL, "640422")]


@bad(22, "A")
def line_ends(night: Night) -> None:
    text = csv_text(golden("pupil"), end="\n")
    for day, content in enumerate((text, text.replace("\n", "\r"), text.replace("\n", "\r\n", 7)), 20):
        night.text("pupil", content, PUPIL.replace("20161020", f"201610{day}"))
        report = night.accepted("pupil", 24)
        assert report.rows_landed + report.rows_unchanged == 24


@bad(23, "R with the delimiter found")
def other_delimiters(night: Night) -> None:
    for delimiter, english, chinese in (
        (";", "a semicolon", "分号"),
        ("\t", "a tab", "制表符"),
        ("|", "a vertical bar", "竖线"),
    ):
        night.text("pupil", csv_text(golden("pupil")).replace(",", delimiter))
        night.rejected("pupil", "delimiter.unexpected", line=1, en=english, zh=chinese)


@bad(24, "R at the line")
def quotes(night: Night) -> None:
    lines = csv_text(golden("pupil"), end="\n").split("\n")
    open_quote = [line.replace("马小", '"马小') if number == 6 else line for number, line in enumerate(lines)]
    night.text("pupil", "\n".join(open_quote))
    night.rejected("pupil", "file.damaged", line=7, en="never closed", zh="引号未闭合")
    stray = [line.replace("马小", '"马"小') + "" if number == 6 else line for number, line in enumerate(lines)]
    night.text("pupil", "\n".join(stray))
    night.rejected("pupil", "file.damaged", line=7, en="inside a cell", zh="引号")


@bad(25, "A, physical line kept")
def newline_in_a_cell(night: Night) -> None:
    night.csv(
        "student_event",
        [event(1, 原因="户籍\n迁移"), *[event(index) for index in range(2, 6)], event(6, 异动类别="飞升")],
    )
    night.quarantined("student_event", 6, Place(8, "event_type", "code.unknown"))
    assert night.sql("select source_line, reason from landing.student_event order by 1 limit 2") == [
        (2, "户籍迁移"),
        (4, "搬迁"),
    ]


@bad(26, "Q; too many: R")
def other_width(night: Night) -> None:
    lines = csv_text(golden("pupil", 100), end="\n").split("\n")
    lines[3] += ",多,余"
    lines[5] = lines[5].rpartition(",")[0]
    night.text("pupil", "\n".join(lines))
    night.quarantined("pupil", 100, Place(4, "*", "row.width"), Place(6, "*", "row.width"))
    night.text(
        "pupil", "\n".join(line + (",多" if 10 < number < 60 else "") for number, line in enumerate(lines)), LATER
    )
    night.rejected("pupil", "file.too_many_bad_rows", en="row.width in 51 of 100 rows", zh="100行中有51行违反row.width")


@bad(27, "R")
def header_twice(night: Night) -> None:
    night.text("pupil", csv_text(golden("pupil")).replace("性别", "民族", 1))
    night.rejected("pupil", "header.duplicate", line=1, column="ethnicity_code", en="民族", zh="重复")


@bad(28, "R")
def column_missing(night: Night) -> None:
    night.csv("pupil", [{name: value for name, value in row.items() if name != "学段"} for row in golden("pupil")])
    night.rejected("pupil", "header.missing_column", line=1, column="stage", en="学段 (stage)", zh="学段")


@bad(29, "W")
def column_too_many(night: Night) -> None:
    night.csv("pupil", [{**row, "血型": "A"} for row in golden("pupil")])
    night.accepted("pupil", 24, warning="header.unknown_column: ignored 血型")


@bad(30, "renamed: R, reordered: A")
def columns_renamed_or_reordered(night: Night) -> None:
    night.text("pupil", csv_text(golden("pupil")).replace("学籍号", "学籍编码", 1))
    night.rejected(
        "pupil", "header.missing_column", line=1, column="student_number", en="the file has '学籍编码'", zh="学籍编码"
    )
    night.csv("pupil", [dict(reversed(row.items())) for row in golden("pupil")])
    night.accepted("pupil", 24)


@bad(31, "A by the alias table")
def headers_by_alias(night: Night) -> None:
    header, _, body = csv_text(golden("pupil")).partition("\r\n")
    aliases = header.replace("证件号码", "身份证号", 1).replace("班级", "班号").replace("学校标识码", "school_code")
    night.text("pupil", aliases + "\r\n" + body)
    night.accepted("pupil", 24)


@bad(32, "declared titles and totals are skipped and counted; an undeclared total: Q row")
def rows_that_are_no_data(night: Night) -> None:
    rows = golden("enrollment_count")
    text = csv_text(rows)
    width = text.split("\r\n")[0].count(",")
    total = f"合计{',' * 7}{sum(row['在校生数'] for row in rows)}{',' * (width - 7)}\r\n"
    title = f"2016年西吉县学生统计表{',' * width}\r\n"
    lines = text.split("\r\n")
    middle = "\r\n".join([*lines[:13], total.strip(), *lines[13:]])
    night.text("enrollment_count", title + middle + f"填报人:马某{',' * width}\r\n")
    night.accepted("enrollment_count", 24, skipped=3)
    assert night.sql("select sum(enrollment_count), max(source_line) from landing.enrollment_count") == [
        (sum(row["在校生数"] for row in rows), 27)
    ]
    # a form that the contract does not declare
    later = NAMES["enrollment_count"].replace("20161020", "20161120")
    spaced = count(24, 学校名称="共计", 在校生数=999, 寄宿生数="")
    night.csv("enrollment_count", [*rows[:12], spaced, *rows[12:]], later)
    night.quarantined(
        "enrollment_count", 25, Place(14, "*", "row.undeclared_total"), Place(14, "school_name", "code.pattern")
    )
    assert night.sql("select count(*) from landing.enrollment_count where enrollment_count = 999") == [(0,)]
    # a contract that declares no totals
    assert night.contracts["tried_grant"].skip_any_cell == ""
    night.csv("tried_grant", [*golden("tried_grant"), payment(30, 姓名="合计")])
    night.quarantined("tried_grant", 25, Place(26, "*", "row.undeclared_total"))


@bad(33, "A: skipped, counted")
def blank_rows(night: Night) -> None:
    lines = csv_text(golden("pupil"), end="\n").split("\n")
    lines[4:4] = ["", "," * 23]
    night.text("pupil", "\n".join(lines) + "\n" + "," * 23 + "\n")
    report = night.accepted("pupil", 24)
    assert report.rows_skipped >= 3
    assert night.sql("select max(source_line) from landing.pupil") == [(27,)]


@bad(34, "R: Excel damage in a column")
def ids_in_scientific_notation(night: Night) -> None:
    night.csv("pupil", [{**row, "证件号码": f"{int(row['证件号码'][:17] + '0'):.5E}"} for row in golden("pupil")])
    night.rejected(
        "pupil",
        "file.too_many_bad_rows",
        column="id_number",
        en="id.scientific of 证件号码 in 24 of 24",
        zh="“证件号码”列",
    )
    night.csv("pupil", pupils_with({3: {"证件号码": "6.49901E+17"}}))
    night.quarantined("pupil", 24, Place(4, "id_number", "id.scientific"))


@bad(35, "R: Excel truncation of a column")
def ids_ending_in_zeros(night: Night) -> None:
    cut = [
        {**row, "证件号码": row["证件号码"][:15] + "000", "学籍号": f"L{index:018d}"}
        for index, row in enumerate(golden("pupil"))
    ]
    damaged = [row for row in cut if id_check_character(row["证件号码"][:17]) != "0"]
    assert len(damaged) > 20
    night.csv("pupil", damaged)
    night.rejected(
        "pupil", "file.too_many_bad_rows", column="id_number", en="id.excel_truncated of 证件号码", zh="“证件号码”列"
    )


@bad(36, "Q")
def wrong_check_digit(night: Night) -> None:
    number = id_number(3)
    wrong = number[:17] + ("0" if number[17] != "0" else "1")
    night.csv("pupil", pupils_with({3: {"证件号码": wrong, "学籍号": "L640422200803150001"}}))
    night.quarantined("pupil", 24, Place(4, "id_number", "id.checksum"), shown="999999999999999999")


@bad(37, "A")
def lower_case_x(night: Night) -> None:
    rows = [row for row in (pupil(index) for index in range(1, 200)) if row["证件号码"].endswith("X")][:10]
    night.csv("pupil", [{**row, "证件号码": row["证件号码"].lower(), "学籍号": row["学籍号"].lower()} for row in rows])
    night.accepted("pupil", len(rows), steps={"id_number.upper": len(rows)})
    tokens = {token for (token,) in night.sql("select person_token from landing.pupil")}
    key = ingest.read_token_key(night.config)
    assert tokens == {key.token(row["证件号码"]) for row in rows}


@bad(38, "Q")
def old_id_of_15_digits(night: Night) -> None:
    number = id_number(3)
    night.csv("pupil", pupils_with({3: {"证件号码": number[:6] + number[8:17], "学籍号": "L640422200803150001"}}))
    night.quarantined("pupil", 24, Place(4, "id_number", "id.pattern"), shown="9" * 15)


@bad(39, "Q")
def impossible_birth_in_id(night: Night) -> None:
    changes: dict[int, dict[str, Any]] = {}
    for line, born in ((3, "20080230"), (5, "20990315")):
        body = f"649901{born}017"
        changes[line] = {"证件号码": body + id_check_character(body), "学籍号": f"L64042220080315000{line}"}
    night.csv("pupil", pupils_with(changes))
    night.quarantined(
        "pupil", 24, Place(4, "id_number", "id.impossible_date"), Place(6, "id_number", "id.impossible_date")
    )


@bad(40, "Q across columns")
def id_disagrees_with_columns(night: Night) -> None:
    night.csv("pupil", pupils_with({3: {"出生日期": "2008-03-16"}, 4: {"性别": "男"}}))
    night.quarantined("pupil", 24, Place(4, "id_number", "id.birth_mismatch"), Place(5, "id_number", "id.sex_mismatch"))


@bad(41, "Q")
def placeholder_ids(night: Night) -> None:
    words = ("111111111111111111", "NA", "无", "-")
    night.csv(
        "pupil",
        pupils_with({3 + i: {"证件号码": word, "学籍号": f"L64042220080315000{i}"} for i, word in enumerate(words)}),
    )
    night.quarantined("pupil", 24, *(Place(4 + i, "id_number", "id.placeholder") for i in range(4)))


@bad(42, "A, typed")
def other_documents(night: Night) -> None:
    night.csv(
        "pupil",
        pupils_with(
            {
                1: {"证件类型": "护照", "证件号码": "E12345678", "学籍号": "L640422200803150001"},
                2: {"证件类型": "台胞证", "证件号码": "0123456789", "学籍号": "L640422200803150002"},
                3: {"证件类型": "香港身份证", "证件号码": "H0123456702", "学籍号": "L640422200803150003"},
            }
        ),
    )
    night.accepted("pupil", 24)
    assert night.sql("select id_type, count(*) from landing.pupil group by 1 order by 1") == [
        ("1", 21),
        ("6", 1),
        ("8", 1),
        ("A", 1),
    ]


@bad(43, "Q")
def student_number_disagrees(night: Night) -> None:
    body = "64042220080315001"
    wrong = body + ("0" if id_check_character(body) != "0" else "1")
    night.csv("pupil", pupils_with({3: {"学籍号": f"G{id_number(30)}"}, 5: {"学籍号": f"J{wrong}"}}))
    night.quarantined(
        "pupil", 24, Place(4, "student_number", "student_number.mismatch"), Place(6, "student_number", "id.checksum")
    )


@bad(44, "Q all but the first")
def pupil_twice_in_one_school(night: Night) -> None:
    rows = [*golden("pupil"), pupil(3, 班级="02"), pupil(3, 班级="03"), pupil(5)]
    night.csv("pupil", rows)
    report = night.quarantined("pupil", 27, Place(26, "*", "duplicate.key"), Place(27, "*", "duplicate.key"))
    assert report.rows_exact_duplicate == 1
    assert night.sql("select class_number from landing.pupil where source_line = 4") == [("01",)]


@bad(45, "both land, both flagged")
def pupil_in_two_schools(night: Night) -> None:
    night.csv("pupil", [*golden("pupil"), pupil(3, 学校标识码=OTHER_SCHOOL)])
    night.accepted("pupil", 25, warning="person.two_schools: 2 rows, lines 4, 26")
    assert night.sql(
        "select count(distinct school_code) from landing.pupil where ended_load_id is null"
        " group by school_year, person_token having count(distinct school_code) > 1"
    ) == [(2,)]


@bad(46, "Q the pair")
def one_id_two_names(night: Night) -> None:
    night.csv("pupil", [*golden("pupil"), pupil(3, 学校标识码=OTHER_SCHOOL, 姓名="周扒皮")])
    night.quarantined(
        "pupil", 25, Place(4, "pupil_name", "pair.conflict"), Place(26, "pupil_name", "pair.conflict"), shown="某某某"
    )
    rows = [*golden("poor_person"), person(3, 人编号="640422000099", 姓名="周扒皮")]
    night.csv("poor_person", rows)
    night.quarantined(
        "poor_person", 25, Place(4, "person_name", "pair.conflict"), Place(26, "person_name", "pair.conflict")
    )


@bad(47, "Q, never padded")
def leading_zeros_lost(night: Night) -> None:
    night.csv("pupil", pupils_with({3: {"学校标识码": SCHOOL[1:]}, 5: {"民族": "3"}}))
    night.quarantined(
        "pupil", 24, Place(4, "school_code", "code.pattern"), Place(6, "ethnicity_code", "code.leading_zero_lost")
    )


@bad(48, "Q, held until the school arrives")
def unknown_school(night: Night) -> None:
    night.csv("school", [school()])
    night.accepted("school", 1)
    night.csv("pupil", pupils_with({3: {"学校标识码": OTHER_SCHOOL}}))
    first = night.quarantined("pupil", 24, Place(4, "school_code", "reference.unknown_school"), shown="216400####")
    night.csv("school", [school(), school(OTHER_SCHOOL)], NAMES["school"].replace("20161020", "20161120"))
    night.accepted("school", 2)
    (done,) = ingest.quarantine.replay(night.root, night.contracts, night.config, [first.load_id or 0])
    assert done.report is not None
    assert (done.report.rows_landed, done.report.rows_unchanged, done.report.rows_quarantined) == (1, 23, 0)
    night.check_identity()


@bad(49, "mapped by the crosswalk, else Q")
def abolished_area_code(night: Night) -> None:
    old = "640422109201"
    night.csv("admin_area", [area()])
    night.csv(
        "area_succession", [{"原区划代码": old, "新区划代码": VILLAGE, "变更类型": "重编码", "变更日期": "2014-01-01"}]
    )
    night.accepted("admin_area", 1)
    night.accepted("area_succession", 1)
    night.csv("poor_person", [person(1), person(2, 行政村代码=old), person(3, 行政村代码="640422999201")])
    night.quarantined("poor_person", 3, Place(4, "village_code", "reference.unknown_village"))
    night.csv("pupil", pupils_with({3: {"县代码": "640421"}}))
    night.quarantined("pupil", 24, Place(4, "county_code", "code.unknown"))


@bad(50, "A by the crosswalk, both bases stored")
def county_split_this_year(night: Night) -> None:
    succession = [
        {"原区划代码": "640422", "新区划代码": new, "变更类型": "拆分", "变更日期": "2016-06-01"}
        for new in ("640422", "640428")
    ]
    night.csv("area_succession", succession)
    night.accepted("area_succession", 2)
    night.csv("pupil", pupils_with({3: {"户口所在地区划代码": "640428209201"}}))
    night.accepted("pupil", 24)
    assert night.sql(
        "select s.from_area_code, s.to_area_code, count(p.*) from landing.area_succession s"
        " left join landing.pupil p on left(p.home_area_code, 6) = s.to_area_code group by 1, 2 order by 2"
    ) == [("640422", "640422", 23), ("640422", "640428", 1)]


@bad(51, "Q")
def code_of_another_level_or_province(night: Night) -> None:
    night.csv("pupil", pupils_with({3: {"县代码": "640400"}, 5: {"县代码": "420104"}, 7: {"学校标识码": "2142000123"}}))
    night.quarantined(
        "pupil", 24, Place(4, "county_code", "code.unknown"), Place(6, "county_code", "code.unknown"),
        Place(8, "school_code", "code.pattern"),
    )  # fmt: skip


@bad(52, "Q")
def county_name_disagrees(night: Night) -> None:
    night.csv("school", [school(), school(OTHER_SCHOOL, 县名称="海原县")])
    night.quarantined("school", 2, Place(3, "county_name", "county.mismatch"))
    night.csv("pupil", pupils_with({4: {"县代码": "海原县"}}))
    night.quarantined("pupil", 24, Place(5, "county_code", "county.mismatch"))


def two_counties(night: Night) -> None:
    """The gate expects what the list of areas has."""
    night.csv("admin_area", [area("640422", "西吉县", "县"), area("640522", "海原县", "县"), area()])
    night.accepted("admin_area", 3)


@bad(53, "completeness blocks")
def county_missing(night: Night) -> None:
    two_counties(night)
    night.csv("pupil", golden("pupil"))
    night.csv("enrollment_count", golden("enrollment_count"))
    night.accepted("pupil", 24)
    night.accepted("enrollment_count", 24)
    for feed in ("pupil", "enrollment_count"):
        severity, places = night.asked(f"{feed}.county_delivered")
        assert severity == "block"
        assert ("640522", "2016/17") in places
        assert ("640422", "2016/17") not in places


@bad(54, "a gate blocks")
def half_of_last_year(night: Night) -> None:
    two_counties(night)
    last = [{**pupil(index), "学年": "2015/16"} for index in range(1, 31)]
    night.csv("pupil", last, PUPIL.replace("_2016_", "_2015_"))
    night.accepted("pupil", 30)
    night.csv("pupil", golden("pupil", 15))
    night.accepted("pupil", 15)
    assert night.asked("pupil.row_change") == ("block", set())
    night.csv("pupil", golden("pupil", 14), LATER)
    night.accepted("pupil", 14)
    assert night.asked("pupil.row_change") == ("block", {("640422", "2016/17")})


@bad(55, "never lands as this year's; a gate blocks")
def last_year_again(night: Night) -> None:
    last = [{**row, "学年": "2015/16"} for row in golden("pupil")]
    night.csv("pupil", last, PUPIL.replace("_2016_20161020", "_2015_20151020"))
    night.accepted("pupil", 24)
    # the same bytes under this year's name: nothing lands, and the year has not arrived
    night.csv("pupil", last)
    same = night.last("pupil")
    assert same.status == "same_content"
    assert "same content as" in same.warnings[0]
    assert night.sql("select count(*) from landing.pupil where school_year = '2016/17'") == [(0,)]
    # saved anew, every row says the wrong year
    night.csv("pupil", [*last, {**pupil(30), "学年": "2015/16"}], LATER)
    assert night.last("pupil").quarantined_by_rule == {"date.out_of_range": 25}
    two_counties(night)
    assert night.asked("pupil.same_as_year_before") == ("block", set())
    # the year overwritten: the content is that of last year, which is what the gate asks
    night.csv("pupil", golden("pupil"), LATER.replace("20161120", "20161121"))
    night.accepted("pupil", 24)
    assert night.asked("pupil.same_as_year_before") == ("block", {("640422", "2016/17")})


@bad(56, "Q")
def negative_count(night: Night) -> None:
    night.csv("enrollment_count", [*golden("enrollment_count"), count(30, 在校生数=-3)])
    night.quarantined("enrollment_count", 25, Place(26, "enrollment_count", "number.negative"), shown="-3")


@bad(57, "A in listed forms, else Q")
def forms_of_counts(night: Night) -> None:
    forms = {0: "31.0", 1: "1,234", 2: "１２", 3: "12人", 4: "12.5", 5: "约30", 6: "三十"}
    rows = golden("enrollment_count")
    for index, text in forms.items():
        rows[index] = count(index, 在校生数=text, 寄宿生数="")
    night.csv("enrollment_count", rows)
    night.quarantined(
        "enrollment_count", 24, Place(5, "enrollment_count", "number.unit_text"),
        Place(6, "enrollment_count", "type.integer"), Place(7, "enrollment_count", "number.unit_text"),
        Place(8, "enrollment_count", "type.integer"),
    )  # fmt: skip
    assert night.sql(
        "select enrollment_count from landing.enrollment_count where source_line < 5 order by source_line"
    ) == [(31,), (1234,), (12,)]


@bad(58, "Q")
def numbers_that_are_none(night: Night) -> None:
    rows = golden("enrollment_count")
    words = ("NaN", "Infinity", "1e309", "2147483648", "9" * 40)
    for index, text in enumerate(words):
        rows[index]["在校生数"] = text
    night.csv("enrollment_count", rows)
    rules = ("type.integer", "type.integer", "type.integer", "number.out_of_range", "number.out_of_range")
    night.quarantined("enrollment_count", 24, *(Place(2 + i, "enrollment_count", rule) for i, rule in enumerate(rules)))
    night.csv(
        "tried_grant",
        [payment(1, 金额="NaN"), payment(2, 金额="1e309"), payment(3, 金额="inf"), *golden("tried_grant")[3:]],
    )
    night.quarantined("tried_grant", 24, *(Place(2 + i, "amount", "type.decimal") for i in range(3)))


@bad(59, "R: unit of a column")
def percentages_mixed(night: Night) -> None:
    rows = golden("tried_grant")
    for row in rows[::2]:
        row["出勤率"] = "0.965"
    night.csv("tried_grant", rows)
    night.rejected(
        "tried_grant", "column.unit", column="attendance_rate", en="12 of 24 values lie between 0 and 1", zh="百分数"
    )


@bad(60, "Q")
def part_greater_than_whole(night: Night) -> None:
    night.csv("enrollment_count", [*golden("enrollment_count"), count(30, 寄宿生数=1000)])
    night.quarantined("enrollment_count", 25, Place(26, "boarder_count", "compare.greater_than"))
    assert "在校生数" in night.sql("select message_zh from quarantine.rejected_row")[0][0]
    night.csv("tried_grant", [payment(1, 出勤率="101"), *golden("tried_grant")[1:]])
    night.quarantined("tried_grant", 24, Place(2, "attendance_rate", "number.out_of_range"))


@bad(61, "Q with the difference")
def parts_do_not_add_up(night: Night) -> None:
    night.csv("tried_grant", [payment(1, 地方资金="100"), *golden("tried_grant")[1:]])
    night.quarantined("tried_grant", 24, Place(2, "amount", "compare.parts_total"))
    ((english, chinese),) = night.sql("select message_en, message_zh from quarantine.rejected_row")
    assert "not the sum of its parts (中央资金 + 地方资金), difference +101.5: 1001.5" in english
    assert "（中央资金 + 地方资金），相差+101.5：" in chinese
    rows = golden("enrollment_count", 12)
    rows[0]["在校生数"] = 999
    night.csv("enrollment_count", rows)
    night.csv("pupil", golden("pupil", 12))
    night.accepted("enrollment_count", 12)
    night.accepted("pupil", 12)
    # the counts of a school against its register, by grade and sex
    assert night.sql(
        "select c.enrollment_count - (select count(*) from landing.pupil p where p.school_code = c.school_code"
        " and p.sex = c.sex and p.grade = c.grade) from landing.enrollment_count c where c.grade = 'P1' and c.sex = '1'"
    ) == [(999,)]


@bad(62, "A in listed forms, else Q")
def forms_of_dates(night: Night) -> None:
    good = {1: "2008/3/15", 2: "２００８-０３-１５", 3: "2008年3月15日"}
    wrong = {4: "2008/2/30", 5: "08-03-15", 6: "39522", 7: "民国97年3月15日"}
    night.csv("pupil", pupils_with({line: {"出生日期": text} for line, text in (good | wrong).items()}))
    night.quarantined("pupil", 24, *(Place(line + 1, "birth_date", "type.date") for line in wrong))
    assert night.sql("select distinct birth_date::text from landing.pupil") == [("2008-03-15",)]
    serial = (date(2008, 3, 15) - date(1899, 12, 30)).days
    night.raw(
        LATER.replace(".csv", ".xlsx"),
        workbook([{**row, "出生日期": serial} for row in golden("pupil")], numbers=frozenset({"出生日期"})),
    )
    night.accepted("pupil", 24, steps={"birth_date.date_form": 24})


@bad(63, "Q")
def date_outside_the_year(night: Night) -> None:
    night.csv("student_event", [event(1), event(2, 异动日期="2014-03-01"), event(3, 异动日期="2016-09-01")])
    night.quarantined(
        "student_event", 3, Place(3, "event_date", "date.out_of_range"), Place(4, "event_date", "date.out_of_range")
    )
    night.csv("pupil", pupils_with({3: {"入学年月": "200409"}}))
    night.quarantined("pupil", 24, Place(4, "birth_date", "compare.greater_than"))


@bad(64, "Q")
def implausible_grades(night: Night) -> None:
    small = id_number(3, "20130315")
    night.csv(
        "pupil",
        pupils_with(
            {
                2: {"年级": "十三年级"},
                3: {
                    "年级": "九年级",
                    "学段": "初中",
                    "出生日期": "2013-03-15",
                    "证件号码": small,
                    "学籍号": f"G{small}",
                },
            }
        ),
    )
    night.quarantined("pupil", 24, Place(3, "grade", "code.unknown"), Place(4, "grade", "age.implausible"))


@bad(65, "A by the code list")
def spellings_of_sex(night: Night) -> None:
    male = ("1", "男", "M", "male", "男性", "1.0")
    night.csv("pupil", pupils_with({index * 2 + 1: {"性别": text} for index, text in enumerate(male)}))
    night.accepted("pupil", 24)
    assert night.sql("select sex, count(*) from landing.pupil group by 1 order by 1") == [("1", 12), ("2", 12)]


@bad(66, "Q")
def poverty_status_contradicts(night: Night) -> None:
    rows = [
        household(1), household(2, 脱贫属性="稳定脱贫"), household(3, 脱贫年度="2016"),
        household(4, 脱贫属性="已脱贫(享受政策)"), household(5, 脱贫属性="已脱贫(享受政策)", 脱贫年度="2016"),
    ]  # fmt: skip
    night.csv("poor_household", rows)
    night.quarantined(
        "poor_household", 5, Place(3, "poverty_status", "code.unknown"), Place(4, "exit_year", "compare.contradiction"),
        Place(5, "exit_year", "required.missing"),
    )  # fmt: skip
    assert "脱贫属性" in night.sql("select message_zh from quarantine.rejected_row where rule like 'compare%%'")[0][0]


@bad(67, "Q; without head: a gate")
def member_without_household(night: Night) -> None:
    night.csv("poor_household", [household(index) for index in range(1, 5)])
    night.accepted("poor_household", 4)
    night.csv("poor_person", [person(1, 与户主关系="户主"), person(2), person(3), person(9), person(4, 户编号="")])
    night.quarantined(
        "poor_person", 5, Place(5, "household_number", "reference.unknown_household"),
        Place(6, "household_number", "required.missing"),
    )  # fmt: skip
    assert night.sql(
        "select household_number from landing.poor_person group by 1 having bool_and(relation_to_head <> '户主')"
        " order by 1"
    ) == [("6404220002",), ("6404220003",)]


@bad(68, "a finding, not an error")
def poor_child_out_of_school(night: Night) -> None:
    night.csv("pupil", golden("pupil", 5))
    night.csv("poor_person", golden("poor_person", 6))
    night.accepted("pupil", 5)
    night.accepted("poor_person", 6)
    assert night.sql(
        "select source_line from landing.poor_person p where age('2016-09-01', birth_date) between '6 years'"
        " and '16 years' and not exists (select 1 from landing.pupil q where q.person_token = p.person_token)"
    ) == [(7,)]


@bad(69, "Q")
def pupil_of_a_closed_school(night: Night) -> None:
    merged, ended, next_year = "2164000125", "2164000126", "2164000127"
    night.csv(
        "school", [school(), school(merged), school(next_year)], NAMES["school"].replace("_2016_2016", "_2015_2015")
    )
    for row in (rows := [school(), school(merged), school(next_year)]):
        row["学年"] = "2015/16"
    night.csv("school", rows, NAMES["school"].replace("_2016_2016", "_2015_2015"))
    night.accepted("school", 3)
    night.csv(
        "school",
        [
            school(变动类型="合并", 变动日期="2016-08-15", 原学校标识码=merged),
            school(OTHER_SCHOOL, 变动类型="撤销", 变动日期="2016-07-01"),
            school(ended, 变动类型="撤销", 变动日期="2016-09-02"),
            school(next_year),
        ],
    )
    assert night.last("school").rows_landed == 4
    night.csv(
        "pupil",
        pupils_with({3: {"学校标识码": OTHER_SCHOOL}, 5: {"学校标识码": merged}, 7: {"学校标识码": ended},
                     9: {"学校标识码": next_year}}),
    )  # fmt: skip
    first = night.quarantined(
        "pupil", 24, Place(4, "school_code", "reference.closed_school"),
        Place(6, "school_code", "reference.closed_school"), shown="216400####",
    )  # fmt: skip
    # the county corrects the school: what waited for it is released
    night.csv(
        "school",
        [school(), school(OTHER_SCHOOL), school(ended), school(next_year)],
        NAMES["school"].replace("20161020", "20161120"),
    )
    night.load("school")
    (done,) = ingest.quarantine.replay(night.root, night.contracts, night.config, [first.load_id or 0])
    assert done.report is not None
    assert (done.report.rows_landed, done.report.rows_unchanged, done.report.rows_quarantined) == (2, 22, 0)
    night.check_identity()


@bad(70, "Q the pair")
def aid_paid_twice(night: Night) -> None:
    night.csv(
        "tried_grant",
        [*golden("tried_grant"), payment(30, 证件号码=id_number(3)), payment(31, 证件号码=id_number(4), 学期="2")],
    )
    night.quarantined(
        "tried_grant", 26, Place(4, "id_number", "pair.repeated"), Place(26, "id_number", "pair.repeated")
    )
    assert "证件号码 + 学期" in night.sql("select message_zh from quarantine.rejected_row")[0][0]


@bad(71, "R by the ratio to the last load")
def yuan_as_ten_thousand_yuan(night: Night) -> None:
    small = {"中央资金": "", "地方资金": ""}
    rows = [payment(index, 金额=f"0.1{index:03d}", **small) for index in range(1, 25)]
    night.csv("tried_grant", rows)
    # nothing has landed yet: what the contract holds for usual
    night.rejected("tried_grant", "column.unit", column="amount", en="expected 100 to 20000 元", zh="20000元")
    dear = NAMES["tried_grant"].replace("20170110", "20170111")
    night.csv("tried_grant", [payment(index, 金额=f"{15000 + index}", **small) for index in range(1, 25)], dear)
    night.accepted("tried_grant", 24)
    # usual by the contract, but a hundredth of the last load and less
    cheap = NAMES["tried_grant"].replace("20170110", "20170112")
    night.csv("tried_grant", [payment(index, 金额=f"{120 + index}", **small) for index in range(1, 25)], cheap)
    night.rejected(
        "tried_grant", "column.unit", column="amount", zh=f"上次入库（{dear}）为15012.5元，比值为1/113",
        en=f"the median is 132.5, that of the last load 15012.5 元 ({dear}): ratio 1/113",
    )  # fmt: skip
    # a change of prices is none of units
    night.csv("tried_grant", [payment(index, 金额=f"{250 + index}", **small) for index in range(1, 25)], cheap)
    night.accepted("tried_grant", 24)


@bad(72, "bounded; R or A")
def very_large(night: Night) -> None:
    night.csv("pupil", pupils_with({3: {"姓名": "马" * 300_000}}))
    night.accepted("pupil", 24)
    night.text("pupil", ",".join(f"列{index}" for index in range(10_000)) + "\n1\n", LATER)
    night.rejected("pupil", "file.damaged", line=1, en="more than 2000 columns", zh="超过2000列")


@bad(73, "A, kept as it is")
def formulas_as_text(night: Night) -> None:
    names = ("=cmd|'/C calc'!A0", "@SUM(1+1)*小学", "+1小学", "-2小学")
    night.csv("pupil", pupils_with({index: {"姓名": name} for index, name in enumerate(names, 2)}))
    night.accepted("pupil", 24)
    kept = {name for (name,) in night.sql("select person_name from vault.person_identity")}
    assert set(names) <= kept
    night.csv("school", [school(OTHER_SCHOOL, 学校名称="@SUM(1+1)*小学", 县代码="640400")])
    night.quarantined("school", 1, Place(2, "county_code", "code.unknown"))


@bad(74, "A as data")
def code_in_names(night: Night) -> None:
    names = ("{{ 7*7 }}", "<script>alert(1)</script>", "'; drop table pupil; --", "$(touch /tmp/x)", "%s%n{0}", "\\N")
    night.csv(
        "pupil", pupils_with({index: {"姓名": name, "监护人姓名": name} for index, name in enumerate(names[:5], 2)})
    )
    night.accepted("pupil", 24)
    kept = {name for (name,) in night.sql("select person_name from vault.person_identity")}
    assert set(names[:5]) <= kept
    night.csv("school", [school(学校名称="<script>小学{{ 1 }}'; drop")])
    night.accepted("school", 1)
    assert night.sql("select school_name from landing.school") == [("<script>小学{{ 1 }}'; drop",)]
    night.csv("pupil", pupils_with({2: {"性别": "{value}<b>'; drop"}}), LATER)
    night.quarantined("pupil", 24, Place(3, "sex", "code.unknown"))


@bad(75, "A")
def unusual_names(night: Night) -> None:
    names = {
        "马😀明": "马😀明", "马\u202e明": "马\u202e明", "e\u0301马": "e\u0301马",
        "阿卜杜热合曼·买买提": "阿卜杜热合曼·买买提", "古丽•努尔": "古丽·努尔", "阿" * 45: "阿" * 45,
    }  # fmt: skip
    night.csv("pupil", pupils_with({index: {"姓名": name} for index, name in enumerate(names, 2)}))
    night.accepted("pupil", 24)
    assert set(names.values()) <= {name for (name,) in night.sql("select person_name from vault.person_identity")}


@bad(76, "Q, masked")
def personal_data_in_free_text(night: Night) -> None:
    rows = [event(index) for index in range(1, 25)]
    rows[2]["原因"] = f"监护人{id_number(9)}"
    rows[4]["原因"] = "电话138 1234 5678"
    rows[6]["原因"] = "随马大山搬走"
    night.csv("student_event", rows)
    report = night.quarantined(
        "student_event", 24, Place(4, "reason", "text.personal"), Place(6, "reason", "text.personal")
    )
    shown = [value for (value,) in night.sql("select masked_value from quarantine.rejected_row order by 1")]
    assert shown == ["某某999 9999 9999", "某某某999999999999999999"]
    assert report.normalizations["reason.withheld"] == 1
    assert night.sql("select distinct reason from landing.student_event order by 1") == [("搬迁",), ("（略）",)]
    people = golden("poor_person")
    people[3]["劳动技能"] = "会木工"
    people[5]["户编号"] = people[5]["证件号码"]
    night.csv("poor_person", people)
    report = night.quarantined("poor_person", 24, Place(7, "household_number", "text.personal"), shown="9" * 18)
    assert report.normalizations["labor_ability.withheld"] == 1
    night.with_column("tried_grant", "remark", words=frozenset())
    night.csv("tried_grant", [payment(1, 备注="由马小康代领"), payment(2, 备注="现金"), *golden("tried_grant")[2:]])
    night.quarantined("tried_grant", 24, Place(2, "remark", "text.personal"))


@bad(77, "R")
def bad_file_names(night: Night) -> None:
    for name, rule in (
        ("学籍_640422_西吉县_2016_20161340.csv", "file.name"),
        ("学籍_640422_西吉县_2016.csv", "file.name"),
        ("学籍_999999_西吉县_2016_20161020.csv", "county.unknown"),
        ("学籍_640422_海原县_2016_20161020.csv", "county.mismatch"),
        ("学籍_ 640422_西吉县_2016_20161020.csv", "file.name"),
        ("学籍_640422_西吉县_二〇一六_20161020.csv", "file.name"),
    ):
        path = night.root / night.csv("pupil", golden("pupil"), f"E04_学籍/{name}")
        report = night.last("pupil")
        assert report.rejection is not None, name
        assert report.rejection.rule == rule, report.rejection
        path.unlink()
    outside = night.root.parent / "外"
    outside.mkdir()
    (outside / PUPIL_NAME).write_text("x")
    (night.root / PUPIL).symlink_to(outside / PUPIL_NAME)
    found = ingest.discover(night.root, night.contracts)
    assert found.offered["pupil"] == ()
    assert [(reason.rule, reason.file) for reason in found.refused] == [("file.name", PUPIL)]


@bad(78, "R")
def future_or_stale_extract(night: Night) -> None:
    tomorrow = f"{date.today() + timedelta(days=2):%Y%m%d}"
    future = night.csv("pupil", golden("pupil"), PUPIL.replace("20161020", tomorrow))
    night.rejected("pupil", "file.name", en="lies in the future", zh="在未来")
    (night.root / future).unlink()
    newer = night.csv("pupil", golden("pupil"), LATER)
    night.accepted("pupil", 24)
    (night.root / newer).unlink()
    night.csv("pupil", golden("pupil", 20))
    night.rejected("pupil", "file.superseded", en=LATER, zh=LATER)


@bad(79, "R by the manifest's mode")
def full_where_a_delta_is_expected(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    night.raw(f"{PUPIL}.manifest.json", b'{"mode": "events"}')
    night.rejected("pupil", "manifest.mode", en="says events, the contract expects full", zh="增量")
    name = night.csv("student_event", golden("student_event"))
    night.raw(f"{name}.manifest.json", b'{"mode": "full"}')
    night.rejected("student_event", "manifest.mode", en="says full, the contract expects period", zh="全量")


@bad(80, "Q")
def leaving_who_never_came(night: Night) -> None:
    last = {"学年": "2015/16"}
    night.csv("pupil", golden("pupil", 5))
    night.accepted("pupil", 5)
    events = [
        event(3, 异动类别="退学"), event(9, 异动类别="死亡"), event(10), event(11, 异动类别="转出"),
        event(12, 异动类别="退学"), event(12, 异动编号="YD000099"),
    ]  # fmt: skip
    # there is no register of the year before: nobody can be judged
    night.csv("student_event", events)
    night.accepted("student_event", 6)
    night.csv("pupil", [pupil(3, **last), pupil(11, **last)], PUPIL.replace("_2016_2016", "_2015_2015"))
    assert night.load("pupil").total("rows_landed") == 2
    # 3 and 11 stood in a register, 10 and 12 came within the year, 12 in a row behind
    night.csv(
        "student_event",
        [*events, event(20), event(13, 异动类别="毕业")],
        NAMES["student_event"].replace("20161020", "20161120"),
    )
    first = night.quarantined(
        "student_event", 8, Place(3, "student_number", "reference.unknown_pupil"),
        Place(9, "student_number", "reference.unknown_pupil"),
    )  # fmt: skip
    # the register brings one of them
    night.csv(
        "pupil",
        [pupil(3, **last), pupil(11, **last), pupil(13, **last)],
        PUPIL.replace("_2016_20161020", "_2015_20151120"),
    )
    night.load("pupil")
    (done,) = ingest.quarantine.replay(night.root, night.contracts, night.config, [first.load_id or 0])
    assert done.report is not None
    assert (done.report.rows_landed, done.report.rows_quarantined) == (1, 1)
    night.check_identity()


@bad(81, "R naming the sheet")
def odd_workbooks(night: Night) -> None:
    name = PUPIL.replace(".csv", ".xlsx")
    rows = golden("pupil")
    night.raw(name, workbook(rows, sheets=3))
    night.rejected("pupil", "file.sheets", sheet="表2", en="表1, 表2, 表3", zh="表1、表2、表3")
    night.raw(name, workbook(rows, sheets=2, hidden=True))
    night.rejected("pupil", "file.sheets", sheet="表2", en="表2 (hidden)", zh="表2（隐藏）")
    plain = workbook(rows)
    night.raw(name, patched(plain, "xl/workbook.xml", b"<workbookPr", b'<workbookPr date1904="1"'))
    night.rejected("pupil", "file.damaged", en="1904", zh="1904")
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet("表1")
    sheet.write_row(0, 0, list(rows[0]))
    sheet.write_row(1, 0, list(rows[1].values()))
    sheet.write_formula(1, 14, '="0"&"1"', None, "")
    book.close()
    night.raw(name, patched(out.getvalue(), "xl/worksheets/sheet1.xml", b"<v></v>", b""))
    night.rejected("pupil", "file.damaged", line=2, en="O2", zh="O2")
    (night.root / name).unlink()
    old = PUPIL.replace(".csv", ".xls")
    table = [list(rows[0]), *[[str(value) for value in row.values()] for row in rows]]
    night.raw(old, xls_bytes({"表1": table}, is_1904=True))
    night.rejected("pupil", "file.damaged", en="1904", zh="1904")
    night.raw(old, xls_bytes({"表1": table, "藏": [["马"]]}, hidden=["藏"]))
    night.rejected("pupil", "file.sheets", sheet="藏", en="藏 (hidden)", zh="藏（隐藏）")
    night.raw(old, xls_bytes({"表1": table}))
    night.accepted("pupil", 24)


@bad(82, "Q")
def names_of_test_data(night: Night) -> None:
    night.csv("pupil", pupils_with({3: {"姓名": "测试"}, 5: {"姓名": "TEST"}}))
    night.quarantined("pupil", 24, Place(4, "pupil_name", "text.test_data"), Place(6, "pupil_name", "text.test_data"))


@bad(83, "W; a gate blocks drift")
def one_figure_everywhere(night: Night) -> None:
    night.csv("enrollment_count", [{**row, "在校生数": 37} for row in golden("enrollment_count")])
    night.accepted("enrollment_count", 24, warning="column.constant: enrollment_count (在校生数)")
    assert night.sql("select count(*), count(distinct enrollment_count) from landing.enrollment_count") == [(24, 1)]


@bad(84, "W")
def round_figures(night: Night) -> None:
    night.csv("enrollment_count", [count(index, 在校生数=40 + 10 * index) for index in range(24)])
    two_counties(night)
    night.accepted("enrollment_count", 24, warning="column.round_figures: 24 of 24")
    assert night.asked("enrollment_count.round_figures") == ("warn", {("640422", "2016/17")})


@pytest.mark.parametrize("number", [pytest.param(number, id=f"bad_input[{number}]") for number in range(1, 85)])
def test_bad_input(number: int, night: Night) -> None:
    _, case = CASES[number]
    case(night)


def test_the_matrix_is_complete() -> None:
    assert sorted(CASES) == list(range(1, 85))
    assert all(outcome for outcome, _ in CASES.values())


@pytest.mark.parametrize("feed", sorted(NAMES))
def test_the_golden_delivery_is_clean(feed: str, night: Night) -> None:
    night.csv(feed, golden(feed))
    report = night.accepted(feed, 24)
    assert (report.rows_landed, report.rows_skipped, report.warnings) == (24, 0, ())
