"""``explain`` names files; recounted from those files, with readers of our own, they give the counts."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import openpyxl
import pytest

from tests.e2e.conftest import Installation

Row = dict[str, str]


def raw_rows(extracts: Path, name: str) -> list[Row]:
    """Cells of a file by Chinese header with its line, less the rows that the manifest says must not count."""
    path = extracts / name
    if path.suffix == ".xlsx":
        sheet = openpyxl.load_workbook(path).worksheets[0]
        table = [
            ["" if cell is None else str(cell).strip() for cell in row] for row in sheet.iter_rows(values_only=True)
        ]
        lines = list(range(1, len(table) + 1))
    else:
        data = path.read_bytes()
        text = (
            data.decode("utf-8-sig") if data.startswith(b"\xef\xbb\xbf") or _is_utf8(data) else data.decode("gb18030")
        )
        reader = csv.reader(io.StringIO(text, newline=""))
        table, lines, before = [], [], 0
        for row in reader:
            table.append([cell.strip() for cell in row])
            lines.append(before + 1)
            before = reader.line_num
    start = next(index for index, row in enumerate(table) if sum(bool(cell) for cell in row) > 4)
    header = table[start]
    # a second header row fills what a merged first row leaves open
    if path.suffix == ".xlsx" and not any(re.search(r"\d", cell) for cell in table[start + 1]):
        header = [below or above for above, below in zip(header, table[start + 1], strict=True)]
        start += 1
    dropped = {
        int(row["line"])
        for row in csv.DictReader((extracts / ".truth" / "defects.csv").open(encoding="utf-8"))
        if row["file"] == name and row["outcome"] in ("quarantined", "exact_duplicate")
    }
    return [
        dict(zip(header, row, strict=False))
        for row, line in zip(table[start + 1 :], lines[start + 1 :], strict=True)
        if line not in dropped and any(row) and "合计" not in row and not row[0].startswith("填报")
    ]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def explained(
    installation: Installation, indicator: str, area: str, year: int
) -> tuple[int, int, dict[str, list[str]]]:
    """Numerator, denominator, and file names by role, as the command prints them."""
    done = installation.edupa("explain", indicator, "--area", area, "--year", str(year))
    assert done.returncode == 0, done.stderr
    numerator = int(re.search(r"numerator +(\d+)$", done.stdout, re.MULTILINE)[1])  # type: ignore[index]
    denominator = int(re.search(r"denominator +(\d+)$", done.stdout, re.MULTILINE)[1])  # type: ignore[index]
    files: dict[str, list[str]] = {}
    for role, name in re.findall(r"^ +(numerator|denominator|both) +(E\d\d_\S+)$", done.stdout, re.MULTILINE):
        files.setdefault(role, []).append(name)
    return numerator, denominator, files


def count_of(row: Row, column: str) -> int:
    return int(
        float(re.sub(r"[,，\s']", "", row[column]).translate(str.maketrans("０１２３４５６７８９", "0123456789")) or 0)
    )


def column(row: Row, *names: str) -> str:
    return next(row[name] for name in names if name in row)


@pytest.mark.parametrize("year", [2018, 2020])
def test_preschool_ratio_recounted_from_its_files(evaluated: Installation, year: int) -> None:
    numerator, denominator, files = explained(evaluated, "G1b", "640424", year)
    pupils = sum(
        count_of(row, "在校生数")
        for name in files["numerator"]
        for row in raw_rows(evaluated.extracts, name)
        if "640424" in column(row, "县代码") and row["年级"] in ("小班", "中班", "大班")
    )
    children = sum(
        count_of(row, "人数")
        for name in files["denominator"]
        for row in raw_rows(evaluated.extracts, name)
        if row["区划代码"] == "640424" and row["年龄"] in ("3", "4", "5")
    )
    assert (pupils, children) == (numerator, denominator)


def test_retention_recounted_from_its_files(evaluated: Installation) -> None:
    numerator, denominator, files = explained(evaluated, "G2b", "640423", 2020)
    ninth = sum(
        count_of(row, "在校生数")
        for name in files["numerator"]
        for row in raw_rows(evaluated.extracts, name)
        if "640423" in row["县代码"]
        and row["学段"] in ("初中", "普通初中")
        and row["年级"] in ("九年级", "初三", "初中三年级")
    )
    first = sum(
        count_of(row, "在校生数")
        for name in files["denominator"]
        for row in raw_rows(evaluated.extracts, name)
        if "640423" in row["县代码"]
        and row["学段"] in ("小学",)
        and row["年级"] in ("一年级", "小一", "小学一年级", "1年级")
    )
    assert (ninth, first) == (numerator, denominator)


def test_upper_secondary_ratio_recounted_from_its_files(evaluated: Installation) -> None:
    """By home county, over the registers of all counties; a pupil on two rolls counts once."""
    numerator, denominator, files = explained(evaluated, "G4", "640424", 2020)
    pupils = {
        column(row, "学籍号").upper()
        for name in files["numerator"]
        for row in raw_rows(evaluated.extracts, name)
        if row["户口所在地区划代码"].startswith("640424") and row["学段"] in ("普通高中", "普高", "中等职业", "中职")
    }
    people = sum(
        count_of(row, "人数")
        for name in files["denominator"]
        for row in raw_rows(evaluated.extracts, name)
        if row["区划代码"] == "640424" and row["年龄"] in ("15", "16", "17")
    )
    assert (len(pupils), people) == (numerator, denominator)
    assert len(files["numerator"]) > 1
