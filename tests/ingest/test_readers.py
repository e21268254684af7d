"""Readers: encodings, dialects, workbooks. A rejected file names rule, sheet, line and column."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xlsxwriter

import ingest
from ingest import Contract, check_file
from ingest.csv_reader import detect_encoding, read_csv
from ingest.load import CheckReport
from ingest.problems import FileRejectedError
from ingest.sources import safe_members
from ingest.tables import LINE
from tests.ingest.golden import (
    COUNT_NAME,
    PERSON_NAME,
    PUPIL_NAME,
    count_row,
    counts,
    csv_text,
    person,
    pupil,
    pupils,
    write_csv,
    write_xlsx,
)

Contracts = dict[str, Contract]
#: people whose ID number ends in a digit, so that a spreadsheet could hold it as a number
WITHOUT_X = [index for index in range(1, 9) if person(index)["证件号码"].isdigit()][:3]


def put(folder: Path, content: bytes | str, name: str = PUPIL_NAME) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rejected(path: Path, contracts: Contracts) -> tuple[str, int | None, str]:
    report = check_file(path, contracts).report
    assert report.status == "rejected", report
    assert report.rejection is not None
    assert report.rejection.file == path.name
    assert report.rejection.what_to_do
    assert report.rejection.what_to_do_zh
    return report.rejection.rule, report.rejection.line, report.rejection.message_en


def clean(result: CheckReport, rows: int) -> None:
    assert result.report.status == "checked", result.report.rejection
    assert result.findings == ()
    assert (result.report.rows_in, result.report.rows_landed) == (rows, rows)


@pytest.mark.parametrize(
    ("encoding", "found"), [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("gb18030", "gb18030")]
)
def test_encodings(encoding: str, found: str, tmp_path: Path, contracts: Contracts) -> None:
    rows = [*pupils(5), pupil(6, 姓名="𬭼䶮㛃")]  # four-byte characters of GB18030
    result = check_file(write_csv(tmp_path, rows, encoding=encoding), contracts)
    clean(result, 6)
    assert result.report.encoding == found


def test_utf8_that_is_also_valid_gb18030_is_read_as_utf8(tmp_path: Path, contracts: Contracts) -> None:
    row = {"学年": "2016/17", "县代码": "640422", "学校标识码": "2164000123", "学籍号": "x", "姓名": "海原县七营镇"}
    row |= {"性别": "1", "出生日期": "2008-03-15", "学段": "primary", "年级": "P3"}
    row["户口所在地区划代码"] = "640422209201"
    known = {column.header: name for name, column in contracts["pupil"].by_name.items()}
    text = csv_text([{known[header]: value for header, value in row.items()}])
    assert "娴峰師鍘夸竷钀ラ晣" in text.encode().decode("gb18030")
    assert detect_encoding(put(tmp_path, text)) == ("utf-8", 0)
    table = read_csv(tmp_path / PUPIL_NAME, contracts["pupil"])
    assert next(iter(table.batches)).frame["pupil_name"].to_list() == ["海原县七营镇"]


def test_mixed_encodings_are_rejected_with_byte_and_line(tmp_path: Path, contracts: Contracts) -> None:
    lines = csv_text(pupils(4), end="\n").splitlines(keepends=True)
    content = "".join(lines[:3]).encode() + b"\xff" + lines[3].encode("gb18030") + "".join(lines[4:]).encode()
    rule, line, message = rejected(put(tmp_path, content), contracts)
    assert (rule, line) == ("file.encoding", 4)
    assert f"byte {len(''.join(lines[:3]).encode())} " in message


def test_a_byte_order_mark_is_a_promise(tmp_path: Path, contracts: Contracts) -> None:
    content = b"\xef\xbb\xbf" + csv_text(pupils(2)).encode("gb18030")
    assert rejected(put(tmp_path, content), contracts)[0] == "file.encoding"


@pytest.mark.parametrize(
    ("content", "rule", "word"),
    [
        (b"", "file.empty", ""),
        (b"\r\n\r\n", "file.empty", ""),
        (csv_text(pupils(2)).encode("utf-16"), "file.encoding", "UTF-16"),
        (csv_text(pupils(2)).encode("utf-16-le"), "file.encoding", "UTF-16"),
        (b"<!DOCTYPE html><html><body>login</body></html>", "file.not_csv", "HTML"),
        (b"\n  <html>", "file.not_csv", "HTML"),
        (b"PK\x03\x04" + b"\0" * 50, "file.not_csv", "xlsx"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 50, "file.not_csv", "xls"),
        (b"\x1f\x8b\x08" + b"x" * 50, "file.not_csv", "gzip"),
    ],
)
def test_what_is_no_csv(content: bytes, rule: str, word: str, tmp_path: Path, contracts: Contracts) -> None:
    found, _, message = rejected(put(tmp_path, content), contracts)
    assert found == rule
    assert word in message


def test_header_only(tmp_path: Path, contracts: Contracts) -> None:
    assert rejected(put(tmp_path, csv_text(pupils(1)).splitlines()[0] + "\r\n"), contracts)[0] == "file.header_only"


@pytest.mark.parametrize(
    ("delimiter", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "vertical bar"), ("，", "full-width comma")]
)
def test_other_delimiters_are_named(delimiter: str, name: str, tmp_path: Path, contracts: Contracts) -> None:
    rule, line, message = rejected(put(tmp_path, csv_text(pupils(2)).replace(",", delimiter)), contracts)
    assert (rule, line) == ("delimiter.unexpected", 1)
    assert name in message


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str, tmp_path: Path, contracts: Contracts) -> None:
    clean(check_file(put(tmp_path, csv_text(pupils(4), end=end)), contracts), 4)
    mixed = csv_text(pupils(4), end="\n").replace("\n", "\r\n", 2)
    clean(check_file(put(tmp_path, mixed), contracts), 4)
    clean(check_file(put(tmp_path, csv_text(pupils(4), end=end).removesuffix(end)), contracts), 4)


def test_unclosed_quote_names_its_line(tmp_path: Path, contracts: Contracts) -> None:
    lines = csv_text(pupils(6), end="\n").splitlines()
    lines[3] = lines[3].replace("马小", '"马小', 1)
    rule, line, message = rejected(put(tmp_path, "\n".join(lines)), contracts)
    assert (rule, line) == ("file.damaged", 4)
    assert "quotation mark" in message


def test_stray_quote_inside_a_quoted_cell_names_its_line(tmp_path: Path, contracts: Contracts) -> None:
    lines = csv_text(pupils(6), end="\n").splitlines()
    lines[3] = lines[3].replace("马小", '"马"小"', 1).replace("马大山", '"马"', 1)
    rule, line, _ = rejected(put(tmp_path, "\n".join(lines)), contracts)
    assert (rule, line) == ("file.damaged", 4)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_breaks_in_cells_keep_the_physical_line(end: str, tmp_path: Path, contracts: Contracts) -> None:
    rows = pupils(4)
    rows[1]["监护人姓名"] = f"马大山{end}（父）"
    rows[3]["年级"] = "十三年级"
    result = check_file(put(tmp_path, csv_text(rows, end=end)), contracts)
    assert [(finding.line, finding.column, finding.rule) for finding in result.findings] == [
        (6, "grade", "code.unknown")
    ]
    table = read_csv(tmp_path / PUPIL_NAME, contracts["pupil"])
    assert pl.concat([batch.frame for batch in table.batches])[LINE].to_list() == [2, 3, 5, 6]


def test_blocks_join_without_a_seam(tmp_path: Path, contracts: Contracts, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pupils(60)
    rows[30]["监护人姓名"] = "马大山\n（父）"
    path = write_csv(tmp_path, rows)
    whole = pl.concat([batch.frame for batch in read_csv(path, contracts["pupil"]).batches])
    monkeypatch.setattr("ingest.csv_reader.BLOCK_BYTES", 1500)
    batches = list(read_csv(path, contracts["pupil"]).batches)
    assert len(batches) > 5
    assert pl.concat([batch.frame for batch in batches]).equals(whole)
    assert whole.height == 60


def test_rows_of_another_width_are_quarantined_with_their_line(tmp_path: Path, contracts: Contracts) -> None:
    lines = csv_text(pupils(30), end="\n").splitlines()
    lines[4] += ",x"
    lines[7] = lines[7].rsplit(",", 3)[0]
    lines[9] += ",,"  # empty cells beyond the header are nothing
    result = check_file(put(tmp_path, "\n".join(lines)), contracts)
    assert [(finding.line, finding.rule) for finding in result.findings] == [(5, "row.width"), (8, "row.width")]
    assert result.report.rows_in == 30
    assert result.report.rows_landed == 28


def test_a_file_of_broken_rows_is_rejected(tmp_path: Path, contracts: Contracts) -> None:
    lines = csv_text(pupils(60), end="\n").splitlines()
    lines[5:35] = [line + ",x" for line in lines[5:35]]
    rule, _, message = rejected(put(tmp_path, "\n".join(lines)), contracts)
    assert rule == "file.too_many_bad_rows"
    assert "row.width in 30 of 60 rows" in message


def test_blank_rows_are_skipped_and_counted(tmp_path: Path, contracts: Contracts) -> None:
    width = len(pupil(1))
    text = csv_text(pupils(3)) + "," * (width - 1) + "\r\n" + "\r\n" + " " + "," * (width - 1) + "\r\n"
    result = check_file(put(tmp_path, text), contracts)
    clean(result, 3)
    assert result.report.rows_skipped == 3


def test_headers_reordered_aliased_and_unknown(tmp_path: Path, contracts: Contracts) -> None:
    rows = pupils(3)
    names = list(reversed(rows[0]))
    text = csv_text([{**row, "备用": "x"} for row in rows], headers=[*names, "备用"])
    text = text.replace("证件号码", "身份证件号", 1).replace("班级", "班号", 1).replace("县代码", "县(市、区、旗)", 1)
    result = check_file(put(tmp_path, text), contracts)
    clean(result, 3)
    assert result.report.warnings == (f"{PUPIL_NAME}: header.unknown_column: ignored 备用",)


def test_missing_column_is_named_with_what_looks_like_it(tmp_path: Path, contracts: Contracts) -> None:
    text = csv_text(pupils(3)).replace("学校标识码", "学校标识", 1)
    report = check_file(put(tmp_path, text), contracts).report
    assert report.rejection is not None
    assert (report.rejection.rule, report.rejection.column) == ("header.missing_column", "school_code")
    assert "'学校标识'" in report.rejection.message_en
    assert "学校标识码" in report.rejection.message_zh


def test_duplicate_header(tmp_path: Path, contracts: Contracts) -> None:
    text = csv_text([{**row, "身份证号": "x"} for row in pupils(2)])
    rule, line, message = rejected(put(tmp_path, text), contracts)
    assert (rule, line) == ("header.duplicate", 1)
    assert "证件号码" in message


def test_no_header_at_all(tmp_path: Path, contracts: Contracts) -> None:
    text = "".join(csv_text(pupils(5)).splitlines(keepends=True)[1:])
    assert rejected(put(tmp_path, text), contracts)[0] == "header.missing_column"


def test_control_characters_are_quarantined_not_dropped(tmp_path: Path, contracts: Contracts) -> None:
    rows = pupils(4)
    rows[1]["姓名"] = "马\x00明"
    rows[2]["年级"] = "三\x07年级"
    result = check_file(put(tmp_path, csv_text(rows)), contracts)
    found = {(finding.line, finding.column) for finding in result.findings if finding.rule == "text.control_character"}
    assert found == {(3, "pupil_name"), (4, "grade")}
    assert result.report.rows_landed == 2


def test_title_and_footer_in_a_csv(tmp_path: Path, contracts: Contracts) -> None:
    text = "西吉县2016年学籍表\r\n" + csv_text(pupils(3)) + "填报人:马某\r\n合计,3\r\n"
    result = check_file(put(tmp_path, text), contracts)
    clean(result, 3)
    assert result.report.rows_skipped == 3


def test_xlsx_with_title_unit_header_totals_footer(tmp_path: Path, contracts: Contracts) -> None:
    rows = counts()
    rows[4]["在校生数"] = -1
    result = check_file(write_xlsx(tmp_path, rows), contracts)
    assert [(f.line, f.column, f.rule) for f in result.findings] == [(8, "enrollment_count", "number.negative")]
    assert result.report.sheet == "统计表"
    assert (result.report.rows_in, result.report.rows_landed) == (12, 11)
    # title, unit row, total, blank row, footer
    assert result.report.rows_skipped == 5


def test_xlsx_with_a_header_of_two_rows(tmp_path: Path, contracts: Contracts) -> None:
    groups = {"学生情况": ("在校生数", "招生数", "毕业生数", "寄宿生数"), "变动情况": ("转入", "转出", "死亡")}
    rows = counts()
    rows[0]["寄宿生数"] = 99
    result = check_file(write_xlsx(tmp_path, rows, groups=groups), contracts)
    assert [(f.line, f.column, f.rule) for f in result.findings] == [(5, "boarder_count", "compare.greater_than")]
    assert result.report.rows_in == 12


def test_empty_first_rows_do_not_shift_row_numbers(tmp_path: Path, contracts: Contracts) -> None:
    path = tmp_path / COUNT_NAME
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    rows = [*counts(), count_row(grade="十三年级")]
    sheet.write_row(6, 1, list(rows[0]))
    for index, row in enumerate(rows):
        sheet.write_row(7 + index, 1, list(row.values()))
    book.close()
    result = check_file(path, contracts)
    assert [(f.line, f.column, f.rule) for f in result.findings] == [(20, "grade", "code.unknown")]


def test_merged_cells_fill_their_rows(tmp_path: Path, contracts: Contracts) -> None:
    path = tmp_path / COUNT_NAME
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    rows = counts()
    names = list(rows[0])
    sheet.write_row(0, 0, names)
    for index, row in enumerate(rows):
        sheet.write_row(1 + index, 0, [row[name] for name in names])
    sheet.merge_range(1, 1, 12, 1, "西吉县")
    book.close()
    clean(check_file(path, contracts), 12)


def workbook(path: Path, rows: list[dict[str, Any]], *, numeric: str | None = None) -> Path:
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, list(rows[0]))
    for line, row in enumerate(rows, 1):
        for column, (name, value) in enumerate(row.items()):
            if name == numeric and line == 2:
                sheet.write_number(line, column, float(value))
            elif value != "":
                sheet.write(line, column, value)
    book.close()
    return path


def test_numeric_cell_in_an_id_column_is_never_repaired(tmp_path: Path, contracts: Contracts) -> None:
    rows = [person(index) for index in WITHOUT_X]
    path = workbook(tmp_path / PERSON_NAME.replace("csv", "xlsx"), rows, numeric="证件号码")
    result = check_file(path, contracts)
    assert [(f.line, f.column, f.rule) for f in result.findings] == [(3, "id_number", "id.excel_truncated")]


def test_numeric_cells_elsewhere_are_read_for_what_they_are(tmp_path: Path, contracts: Contracts) -> None:
    rows = [person(1, 行政村代码=640422209201, 年度=2016, 民族="03"), person(3, 出生日期=39522)]
    assert rows[1]["出生日期"] == 39522  # serial of 2008-03-15
    clean(check_file(workbook(tmp_path / PERSON_NAME.replace("csv", "xlsx"), rows), contracts), 2)


def test_second_sheet_with_data_is_refused_by_name(tmp_path: Path, contracts: Contracts) -> None:
    for hidden in (False, True):
        path = tmp_path / COUNT_NAME
        book = xlsxwriter.Workbook(str(path))
        rows = counts()
        for name in ("表一", "底稿"):
            sheet = book.add_worksheet(name)
            sheet.write_row(0, 0, list(rows[0]))
            sheet.write_row(1, 0, list(rows[0 if name == "表一" else 1].values()))
            if hidden and name == "底稿":
                sheet.hide()
        book.add_worksheet("空表")
        book.close()
        report = check_file(path, contracts).report
        assert report.rejection is not None
        assert (report.rejection.rule, report.rejection.sheet) == ("file.sheets", "底稿")
        assert ("hidden" in report.rejection.message_en) is hidden


def test_damaged_and_misnamed_workbooks(tmp_path: Path, contracts: Contracts) -> None:
    whole = write_xlsx(tmp_path, counts()).read_bytes()
    assert rejected(put(tmp_path, whole[: len(whole) // 2], COUNT_NAME), contracts)[0] == "file.damaged"
    assert rejected(put(tmp_path, csv_text(counts()), COUNT_NAME), contracts)[0] == "file.damaged"
    assert rejected(put(tmp_path, b"", COUNT_NAME), contracts)[0] == "file.empty"
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as package:
        package.writestr("x.txt", "x")
    assert rejected(put(tmp_path, other.getvalue(), COUNT_NAME), contracts)[0] == "file.damaged"


def _patched(path: Path, name: str, old: bytes, new: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename == name:
                assert old in content
                content = content.replace(old, new, 1)
            target.writestr(entry.filename, content)
    return out.getvalue()


def test_date_system_1904_and_formulas_without_result(tmp_path: Path, contracts: Contracts) -> None:
    path = write_xlsx(tmp_path, counts())
    shifted = _patched(path, "xl/workbook.xml", b"<workbookPr ", b'<workbookPr date1904="1" ')
    rule, _, message = rejected(put(tmp_path, shifted, COUNT_NAME), contracts)
    assert rule == "file.damaged"
    assert "1904" in message
    path = write_xlsx(tmp_path, counts())
    formula = _patched(path, "xl/worksheets/sheet1.xml", b'<c r="H5"><v>31</v></c>', b'<c r="H5"><f>SUM(H6:H7)</f></c>')
    rule, line, message = rejected(put(tmp_path, formula, COUNT_NAME), contracts)
    assert (rule, line) == ("file.damaged", 5)
    assert "H5" in message


def test_parquet(tmp_path: Path, contracts: Contracts) -> None:
    path = tmp_path / PUPIL_NAME.replace("csv", "parquet")
    pl.DataFrame(pupils(5)).write_parquet(path)
    clean(check_file(path, contracts), 5)
    pl.DataFrame(pupils(5)).with_columns(pl.lit(649901200803150011).alias("证件号码")).write_parquet(path)
    assert check_file(path, contracts).report.quarantined_by_rule["id.excel_truncated"] == 5
    path.write_bytes(b"PAR1 not really")
    assert rejected(path, contracts)[0] == "file.damaged"


def test_zip_members_are_listed_and_unsafe_archives_refused(tmp_path: Path, contracts: Contracts) -> None:
    good = tmp_path / "西吉.zip"
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr(f"E04/{PUPIL_NAME}", csv_text(pupils(2)))
    found = ingest.discover(tmp_path, contracts)
    assert found.offered["pupil"] == (f"西吉.zip!E04/{PUPIL_NAME}",)
    for member, content in {
        "../x.csv": b"1",
        "/etc/x.csv": b"1",
        "a/inner.zip": b"PK",
        "bomb.csv": b"0" * (11 * 1024**2),
    }.items():
        bad = tmp_path / "坏.zip"
        with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
        found = ingest.discover(tmp_path, contracts)
        assert [item.rule for item in found.refused] == ["file.zip_unsafe"], member
        assert found.offered["pupil"]
    bad.write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(FileRejectedError) as error:
        safe_members(bad)
    assert error.value.rule == "file.damaged"


def test_zip_names_of_chinese_windows(tmp_path: Path, contracts: Contracts) -> None:
    path = tmp_path / "西吉.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X" * len(PUPIL_NAME.encode("gb18030")), csv_text(pupils(1)))
    raw = PUPIL_NAME.encode("gb18030")
    path.write_bytes(path.read_bytes().replace(b"X" * len(raw), raw))
    assert ingest.discover(tmp_path, contracts).offered["pupil"] == (f"西吉.zip!{PUPIL_NAME}",)


def test_discovery(tmp_path: Path, contracts: Contracts) -> None:
    folder = tmp_path / "E04_学籍"
    folder.mkdir()
    for name in (
        "学籍_640422_西吉县_2016_20161120.csv",
        "学籍_640422_西吉县_2016_20161020(2).csv",
        "学籍_640422_西吉县_2016_20161020.csv",
        "学籍_640422_西吉县_2016_20161020（最终版）.csv",
        "学籍_640422_西吉县_2015_20161020.csv",
        "学籍_640422_西吉县.csv",
        "学籍异动_640422_西吉县_2016_20161020.csv",
        "会议通知.docx",
        "学籍_640422_西吉县_2016_20161120.csv.part",
        "~$学籍.xlsx",
        ".DS_Store",
    ):
        (folder / name).write_bytes(b"x")
    (tmp_path / ".truth").mkdir()
    (tmp_path / ".truth" / "学籍_640422_西吉县_2016_20161020.csv").write_bytes(b"x")
    (folder / "学籍_link_20161020.csv").symlink_to("/etc/hostname")
    found = ingest.discover(tmp_path, contracts)
    assert [name.split("/")[1] for name in found.offered["pupil"]] == [
        "学籍_640422_西吉县.csv",
        "学籍_640422_西吉县_2015_20161020.csv",
        "学籍_640422_西吉县_2016_20161020.csv",
        "学籍_640422_西吉县_2016_20161020(2).csv",
        "学籍_640422_西吉县_2016_20161020（最终版）.csv",
        "学籍_640422_西吉县_2016_20161120.csv",
    ]
    assert len(found.offered["student_event"]) == 1
    assert found.unrecognized == ("E04_学籍/会议通知.docx",)
    assert found.waiting == ("E04_学籍/学籍_640422_西吉县_2016_20161120.csv.part",)
    assert [item.rule for item in found.refused] == ["file.name"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("学籍_640422_西吉县_2016_20161320.csv", "file.name"),
        ("学籍_640422_西吉县_2016_20991020.csv", "file.name"),
        ("学籍_640422_西吉县_2016.csv", "file.name"),
        ("学籍_640422 _西吉县_2016_20161020.csv", "file.name"),
        ("学籍_640499_西吉县_2016_20161020.csv", "county.unknown"),
        ("学籍_640422_东吉县_2016_20161020.csv", "county.unknown"),
        ("学籍_640422_海原县_2016_20161020.csv", "county.mismatch"),
        ("学籍_640522_海源县_2016_20161020.csv", None),  # a known misspelling
    ],
)
def test_file_names(name: str, rule: str | None, tmp_path: Path, contracts: Contracts) -> None:
    rows = [pupil(index, 县代码=name[3:9]) for index in (1, 2)]
    report = check_file(write_csv(tmp_path, rows, name), contracts).report
    assert (report.rejection.rule if report.rejection else None) == rule


def test_a_cell_of_one_megabyte_is_bounded(tmp_path: Path, contracts: Contracts) -> None:
    rows = pupils(3)
    rows[1]["监护人姓名"] = "马" * 400_000
    result = check_file(write_csv(tmp_path, rows), contracts)
    assert result.report.rows_in == 3


def test_ten_thousand_columns_are_refused(tmp_path: Path, contracts: Contracts) -> None:
    assert rejected(put(tmp_path, ",".join(f"列{n}" for n in range(10_000)) + "\n1\n"), contracts)[0] == "file.damaged"
