"""A small golden delivery, made anew for each test: rows as dictionaries by Chinese header, and ways to write them.

ID numbers stand on the unassigned area prefix 6499xx and belong to nobody.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xlsxwriter

from ingest.values import id_check_character

Row = dict[str, Any]

PUPIL_NAME = "学籍_640422_西吉县_2016_20161020.csv"
COUNT_NAME = "学生统计_640422_西吉县_2016_20161020.xlsx"
PERSON_NAME = "建档立卡人口_640422_西吉县_2016_20170110.csv"
EVENT_NAME = "学籍异动_640422_西吉县_2016_20161020.csv"
VILLAGE = "640422209201"


def id_number(index: int, born: str = "20080315", *, female: bool = False, area: str = "649901") -> str:
    """A valid ID number; ``index`` < 500 makes it unique within a birth date."""
    body = f"{area}{born}{index * 2 + (0 if female else 1):03d}"
    return body + id_check_character(body)


def iso(born: str) -> str:
    """20080315 as 2008-03-15."""
    return f"{born[:4]}-{born[4:6]}-{born[6:]}"


def pupil(index: int, **changes: Any) -> Row:
    """One clean pupil of grade 3, eight years old on 1 September 2016."""
    female = index % 2 == 0
    number = id_number(index, female=female)
    return {
        "学年": "2016/17",
        "县代码": "640422",
        "学校标识码": "2164000123",
        "学籍号": f"G{number}",
        "姓名": f"马小{chr(0x4E00 + index)}",
        "性别": "女" if female else "男",
        "出生日期": "2008-03-15",
        "证件类型": "居民身份证",
        "证件号码": number,
        "民族": "回族",
        "户口所在地区划代码": VILLAGE,
        "户口性质": "农业",
        "学段": "小学",
        "年级": "三年级",
        "班级": "01",
        "入学年月": "201409",
        "就读方式": "走读",
        "残疾类型": "无",
        "随班就读": "否",
        "是否留守儿童": "0",
        "随迁子女": "否",
        "孤儿": "否",
        "监护人姓名": "马大山",
        "监护人证件号": id_number(index, "19800101"),
        **changes,
    }


def pupils(count: int = 10) -> list[Row]:
    """Clean pupils."""
    return [pupil(index) for index in range(1, count + 1)]


def one_of_many(index: int, **changes: Any) -> Row:
    """A pupil of up to 40,000: the areas of the ID numbers keep them apart."""
    number = id_number(index % 400, female=index % 2 == 0, area=f"6499{index // 400:02d}")
    return {**pupil(index % 400), "学籍号": f"G{number}", "证件号码": number, **changes}


def count_row(school: str = "2164000123", grade: str = "一年级", sex: str = "男", **changes: Any) -> Row:
    """One clean row of the enrollment counts."""
    return {
        "学年": "2016/17",
        "县代码": "640422",
        "学校标识码": school,
        "学校名称": "马莲乡中心小学",
        "学段": "小学",
        "年级": grade,
        "性别": sex,
        "在校生数": 31,
        "招生数": 30,
        "毕业生数": 0,
        "寄宿生数": 2,
        "转入": 1,
        "转出": 0,
        "死亡": 0,
        **changes,
    }


def counts() -> list[Row]:
    """Twelve clean rows: six grades, two sexes."""
    return [count_row(grade=f"{grade}年级", sex=sex) for grade in "一二三四五六" for sex in "男女"]


def person(index: int, **changes: Any) -> Row:
    """One clean registered-poor person, the pupil of the same index."""
    female = index % 2 == 0
    return {
        "年度": "2016",
        "县代码": "640422",
        "行政村代码": VILLAGE,
        "户编号": f"64042200{index:02d}",
        "人编号": f"640422000{index:03d}",
        "姓名": f"马小{chr(0x4E00 + index)}",
        "证件类型": "1",
        "证件号码": id_number(index, female=female),
        "与户主关系": "之子",
        "性别": "女" if female else "男",
        "出生日期": "2008-03-15",
        "民族": "03",
        "在校生状况": "小学",
        "失学或辍学原因": "",
        "健康状况": "健康",
        "劳动技能": "无劳动力",
        "脱贫属性": "未脱贫",
        "脱贫年度": "",
        **changes,
    }


def event(index: int, **changes: Any) -> Row:
    """One clean event: the pupil of the same index moves in."""
    number = id_number(index, female=index % 2 == 0)
    return {
        "学年": "2016/17",
        "县代码": "640422",
        "异动编号": f"YD{index:06d}",
        "学籍号": f"G{number}",
        "证件号码": number,
        "异动类别": "转入",
        "异动日期": "2016-03-01",
        "原学校标识码": "2164000124",
        "新学校标识码": "2164000123",
        "原因": "搬迁",
        "审核状态": "已审核",
        **changes,
    }


def csv_text(rows: Sequence[Row], *, end: str = "\r\n", headers: Sequence[str] | None = None) -> str:
    """Rows as csv with a header."""
    names = list(headers) if headers is not None else list(rows[0])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end)
    writer.writerow(names)
    writer.writerows([row.get(name, "") for name in names] for row in rows)
    return out.getvalue()


def write_csv(folder: Path, rows: Sequence[Row], name: str = PUPIL_NAME, *, encoding: str = "gb18030") -> Path:
    """Write rows as csv; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(csv_text(rows).encode(encoding))
    return path


def write_xlsx(
    folder: Path,
    rows: Sequence[Row],
    name: str = COUNT_NAME,
    *,
    title: Sequence[str] = ("2016年西吉县班级学生统计表",),
    unit: str | None = "单位:人",
    footer: str | None = "填报人:马某 联系电话:0954-0000000",
    groups: dict[str, Sequence[str]] | None = None,
    totals: bool = True,
) -> Path:
    """Write rows as counties do: title, unit row, header (two rows deep with ``groups``), totals, footer."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet("统计表")
    names = list(rows[0])
    line = 0
    for text in title:
        sheet.merge_range(line, 0, line, len(names) - 1, text)
        line += 1
    if unit:
        sheet.write(line, len(names) - 1, unit)
        line += 1
    if groups:
        grouped = {child: parent for parent, children in groups.items() for child in children}
        for column, text in enumerate(names):
            if text in grouped:
                sheet.write(line + 1, column, text)
            else:
                sheet.merge_range(line, column, line + 1, column, text)
        for parent, children in groups.items():
            first = names.index(children[0])
            sheet.merge_range(line, first, line, first + len(children) - 1, parent)
        line += 2
    else:
        sheet.write_row(line, 0, names)
        line += 1
    for row in rows:
        for column, text in enumerate(names):
            if row[text] not in ("", None):
                sheet.write(line, column, row[text])
        line += 1
    if totals:
        sheet.write(line, 3, "合计")
        for column, text in enumerate(names):
            if isinstance(rows[0][text], int):
                sheet.write(line, column, sum(row[text] for row in rows))
        line += 1
    if footer:
        sheet.write(line + 1, 0, footer)
    book.close()
    return path
