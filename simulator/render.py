"""From canonical tables to the files that counties really send: names, headers, labels, spellings by county habit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from simulator import aid_render, care_layout
from simulator.geography import Geography
from simulator.writers import Sheet, column_letter, write_csv, write_xlsx

GB18030_COUNTIES = ("640402", "640422", "640423", "640424", "640425")
UTF8_COUNTIES = ("640104", "640105", "640106")
MERGED_HEADER_CITY = "6403"
DATE_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%Y年%-m月%-d日", "%Y/%-m/%-d", "%Y.%-m.%-d")
YEAR_STYLES = ("short", "pair", "words", "slash")

FOLDERS = {
    "admin_area": "E00_行政区划",
    "area_succession": "E00_行政区划",
    "school": "E01_学校基础信息",
    "enrollment_count": "E03_班级学生统计",
    "pupil": "E04_学籍",
    "student_event": "E05_学籍异动",
    "poor_village": "E07_建档立卡",
    "poor_household": "E07_建档立卡",
    "poor_person": "E07_建档立卡",
    "population_age": "E08_分岁人口",
    "disabled_child": "E09_残疾儿童",
    **aid_render.FOLDERS,
    **care_layout.FOLDERS,
}
STEMS = {
    "admin_area": "行政区划",
    "area_succession": "区划沿革",
    "school": "学校信息",
    "enrollment_count": "学生统计",
    "pupil": "学籍",
    "student_event": "学籍异动",
    "poor_village": "贫困村",
    "poor_household": "建档立卡户",
    "poor_person": "建档立卡人口",
    "population_age": "分岁人口",
    "disabled_child": "残疾儿童",
    **aid_render.STEMS,
    **care_layout.STEMS,
}
TITLES = {
    "school": "学校基础信息表",
    "enrollment_count": "在校学生情况统计表",
    "pupil": "学生学籍信息表",
    "student_event": "学籍异动登记表",
    "poor_household": "建档立卡贫困户信息表",
    "poor_person": "建档立卡贫困人口信息表",
    "disabled_child": "持证残疾儿童名册",
    **aid_render.TITLES,
    **care_layout.TITLES,
}
HEADERS: dict[str, dict[str, str]] = {
    "admin_area": {
        "area_code": "区划代码",
        "area_name": "区划名称",
        "area_level": "级别",
        "parent_code": "上级代码",
        "urban_rural_code": "城乡分类代码",
        "is_plan_county": "规划贫困县",
        "is_preschool_priority_county": "学前重点县",
        "is_poor_village": "贫困村",
        "poverty_exit_date": "退出批复日期",
        "valid_from": "启用日期",
        "valid_to": "停用日期",
    },
    "area_succession": {
        "from_area_code": "原区划代码",
        "to_area_code": "新区划代码",
        "change_type": "变更类型",
        "change_date": "变更日期",
    },
    "school": {
        "school_year": "学年",
        "county_code": "县代码",
        "county_name": "县名称",
        "school_code": "学校标识码",
        "school_name": "学校名称",
        "school_type_code": "办学类型码",
        "owner_code": "举办者码",
        "village_code": "驻地区划代码",
        "urban_rural_code": "城乡分类码",
        "central_school_code": "隶属中心校标识码",
        "is_ethnic_school": "民族学校",
        "attached_class_types": "附设班类型",
        "change_type_code": "变动类型",
        "change_date": "变动日期",
        "predecessor_codes": "原学校标识码",
    },
    "enrollment_count": {
        "school_year": "学年",
        "county_code": "县代码",
        "school_code": "学校标识码",
        "school_name": "学校名称",
        "stage": "学段",
        "grade": "年级",
        "sex": "性别",
        "enrollment_count": "在校生数",
        "entrant_count": "招生数",
        "graduate_count": "毕业生数",
        "boarder_count": "寄宿生数",
        "transfer_in_count": "转入",
        "transfer_out_count": "转出",
        "death_count": "死亡",
    },
    "pupil": {
        "school_year": "学年",
        "county_code": "县代码",
        "school_code": "学校标识码",
        "student_number": "学籍号",
        "pupil_name": "姓名",
        "sex": "性别",
        "birth_date": "出生日期",
        "id_type": "证件类型",
        "id_number": "证件号码",
        "ethnicity_code": "民族",
        "home_area_code": "户口所在地区划代码",
        "hukou_type": "户口性质",
        "stage": "学段",
        "grade": "年级",
        "class_number": "班级",
        "enrolled_on": "入学年月",
        "boarding_code": "就读方式",
        "disability_code": "残疾类型",
        "is_inclusive_education": "随班就读",
        "left_behind_code": "是否留守儿童",
        "is_migrant_child": "随迁子女",
        "is_orphan": "孤儿",
        "guardian_name": "监护人姓名",
        "guardian_id_number": "监护人证件号",
    },
    "student_event": {
        "school_year": "学年",
        "county_code": "县代码",
        "event_number": "异动编号",
        "student_number": "学籍号",
        "id_number": "证件号码",
        "event_type": "异动类别",
        "event_date": "异动日期",
        "from_school_code": "原学校标识码",
        "to_school_code": "新学校标识码",
        "reason": "原因",
        "approval_status": "审核状态",
    },
    "poor_village": {
        "poverty_year": "年度",
        "village_code": "行政村代码",
        "village_name": "行政村",
        "is_poor_village": "贫困村标识",
        "exit_year": "出列年度",
    },
    "poor_household": {
        "poverty_year": "年度",
        "county_code": "县代码",
        "village_code": "行政村代码",
        "household_number": "户编号",
        "head_name": "户主姓名",
        "head_id_number": "户主证件号码",
        "member_count": "人数",
        "household_type": "贫困户属性",
        "main_cause": "主要致贫原因",
        "poverty_status": "脱贫属性",
        "exit_year": "脱贫年度",
    },
    "poor_person": {
        "poverty_year": "年度",
        "county_code": "县代码",
        "village_code": "行政村代码",
        "household_number": "户编号",
        "person_number": "人编号",
        "person_name": "姓名",
        "id_type": "证件类型",
        "id_number": "证件号码",
        "relation_to_head": "与户主关系",
        "sex": "性别",
        "birth_date": "出生日期",
        "ethnicity_code": "民族",
        "school_status": "在校生状况",
        "out_of_school_reason": "失学或辍学原因",
        "health_status": "健康状况",
        "labor_ability": "劳动技能",
        "poverty_status": "脱贫属性",
        "exit_year": "脱贫年度",
    },
    "population_age": {
        "reference_year": "年度",
        "area_code": "区划代码",
        "age": "年龄",
        "sex": "性别",
        "person_count": "人数",
        "population_basis": "口径",
        "reference_date": "时点",
        "population_vintage": "版本",
    },
    "disabled_child": {
        "reference_year": "年度",
        "county_code": "县代码",
        "certificate_number": "残疾人证号",
        "child_name": "姓名",
        "sex": "性别",
        "disability_type": "残疾类别",
        "disability_grade": "残疾等级",
        "component_types": "多重残疾类别",
        "birth_date": "出生日期",
        "home_village_code": "户籍村代码",
        "schooling_status": "就学状况",
        "is_in_rehabilitation": "康复",
    },
    **aid_render.HEADERS,
    **care_layout.HEADERS,
}
# two-row headers of the Wuzhong workbooks: group title → columns below it
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "school": {"变动信息": ("change_type_code", "change_date", "predecessor_codes")},
    "enrollment_count": {
        "在校生情况": ("enrollment_count", "entrant_count", "graduate_count", "boarder_count"),
        "变动情况": ("transfer_in_count", "transfer_out_count", "death_count"),
    },
    "pupil": {
        "户籍信息": ("home_area_code", "hukou_type"),
        "监护人信息": ("guardian_name", "guardian_id_number"),
    },
    "student_event": {"学校变动": ("from_school_code", "to_school_code")},
    "poor_household": {"脱贫情况": ("poverty_status", "exit_year")},
    "poor_person": {"脱贫情况": ("poverty_status", "exit_year")},
    "disabled_child": {},
}
NUMBERS: dict[str, frozenset[str]] = {
    "enrollment_count": frozenset(
        {
            "enrollment_count",
            "entrant_count",
            "graduate_count",
            "boarder_count",
            "transfer_in_count",
            "transfer_out_count",
            "death_count",
        }
    ),
    "poor_household": frozenset({"poverty_year", "member_count", "exit_year"}),
    "poor_person": frozenset({"poverty_year", "exit_year"}),
    "disabled_child": frozenset({"reference_year"}),
    **aid_render.NUMBERS,
    **care_layout.NUMBERS,
}
#: feeds whose year is a calendar year, not a school year
CALENDAR_YEAR = {"poor_household", "poor_person", "disabled_child", *aid_render.TITLES, *care_layout.TITLES}
UNIT_ROWS = {"enrollment_count": "单位:人", "poor_household": "单位:户、人"}

_STAGE = {
    "preschool": "学前教育",
    "primary": "小学",
    "junior": "初中",
    "senior": "普通高中",
    "vocational": "中等职业",
    "special": "特殊教育",
    **aid_render.STAGES,
}
_NUMERALS = "一二三四五六七八九"
GRADE_LABELS = {
    "PRE0": "托班",
    "PRE1": "小班",
    "PRE2": "中班",
    "PRE3": "大班",
    **{f"P{i + 1}": f"{_NUMERALS[i]}年级" for i in range(6)},
    **{f"J{i + 1}": f"{_NUMERALS[i + 6]}年级" for i in range(3)},
    **{f"S{i + 1}": f"高{_NUMERALS[i]}" for i in range(3)},
    **{f"V{i + 1}": f"中职{_NUMERALS[i]}年级" for i in range(3)},
}
LABELS: dict[str, dict[str, str]] = {
    "stage": _STAGE,
    "grade": GRADE_LABELS,
    "sex": {"1": "男", "2": "女"},
    "id_type": {"1": "居民身份证", "Z": "其他"},
    "ethnicity_code": {"01": "汉族", "03": "回族", "11": "满族", "26": "东乡族"},
    "hukou_type": {"1": "农业", "2": "非农业"},
    "boarding_code": {"1": "走读", "2": "住校"},
    "disability_code": {"0": "无", "1": "视力", "2": "听力", "3": "智力", "4": "其他"},
    "event_type": {
        "transfer_in": "转入",
        "transfer_out": "转出",
        "withdrawal": "退学",
        "graduation": "毕业",
        "death": "死亡",
        "resumption": "复学",
        "suspension": "休学",
        "emigration": "出境",
    },
    "approval_status": {"approved": "已审核", "pending": "待审核", "returned": "退回"},
    "household_type": {"general": "一般贫困户", "subsistence": "低保户", "destitute": "五保户"},
    "main_cause": {
        "illness": "因病",
        "disability": "因残",
        "schooling": "因学",
        "disaster": "因灾",
        "land": "缺土地",
        "water": "缺水",
        "skills": "缺技术",
        "labor": "缺劳力",
        "capital": "缺资金",
        "transport": "交通条件落后",
        "motivation": "自身发展动力不足",
        "other": "其他",
    },
    "poverty_status": {
        "in_poverty": "未脱贫",
        "exited_with_policy": "已脱贫(享受政策)",
        "exited_without_policy": "已脱贫(不再享受政策)",
        "returned": "返贫",
        "newly_identified": "新识别",
    },
    "out_of_school_reason": {
        "poverty": "因贫",
        "illness": "因病",
        "disability": "因残",
        "unwilling": "厌学",
        "working": "务工",
        "early_marriage": "早婚",
        "other": "其他",
    },
    "population_basis": {"resident": "常住", "registered": "户籍"},
    "disability_grade": {"1": "一级", "2": "二级", "3": "三级", "4": "四级"},
    "change_type_code": {"1": "新设", "2": "更名", "3": "合并", "4": "撤销", "5": "转置", "6": "升格"},
    **aid_render.LABELS,
    **care_layout.LABELS,
    "last_grade": GRADE_LABELS,
}
# columns whose name means something else in another feed: the labels they take
LABELS_OF = {("dropout_case", "reason"): "out_of_school_reason"}
# counties that export digits instead of words for these columns
DIGIT_COLUMNS = (
    "ethnicity_code",
    "hukou_type",
    "boarding_code",
    "disability_code",
    "id_type",
    "change_type_code",
    "disability_grade",
)


@dataclass(frozen=True)
class Habit:
    """How one county writes its files."""

    format: str
    encoding: str
    date_format: str
    year_style: str
    digits: bool
    merged: bool


@dataclass
class FeedFile:
    """One file to be written: strings only, in file order.

    ``data`` has the canonical columns plus ``_row`` (row of the canonical table, null for invented rows).
    """

    contract: str
    name: str
    county: str
    county_name: str
    year: int
    habit: Habit
    data: pl.DataFrame
    totals: list[list[str | int | None]] = field(default_factory=list)
    cut_rows: dict[int, int] = field(default_factory=dict)
    blank_rows: int = 0
    dropped_column: str | None = None
    sheet: str = "Sheet1"

    @property
    def path(self) -> Path:
        """Path below the extract root."""
        return Path(FOLDERS[self.contract]) / self.name

    @property
    def columns(self) -> list[str]:
        """Canonical names of the written columns."""
        return [c for c in HEADERS[self.contract] if c != self.dropped_column]

    @property
    def is_xlsx(self) -> bool:
        """Tell whether the file is a workbook."""
        return self.habit.format == "xlsx"

    def above(self) -> tuple[list[list[str | None]], list[str]]:
        """Return the rows above the data of a workbook and its merged ranges."""
        columns = self.columns
        headers = [HEADERS[self.contract][c] for c in columns]
        width = len(columns)
        rows: list[list[str | None]] = [[self._title(), *[None] * (width - 1)]]
        merges = [f"A1:{column_letter(width - 1)}1"]
        if self.contract in UNIT_ROWS:
            rows.append([UNIT_ROWS[self.contract], *[None] * (width - 1)])
        groups = GROUPS.get(self.contract, {}) if self.habit.merged else {}
        if not groups:
            return [*rows, list(headers)], merges
        top: list[str | None] = list(headers)
        low: list[str | None] = [None] * width
        first = len(rows) + 1
        grouped = {c for members in groups.values() for c in members}
        for title, members in groups.items():
            places = [columns.index(c) for c in members if c in columns]
            for place in places:
                low[place] = headers[place]
                top[place] = None
            top[places[0]] = title
            merges.append(f"{column_letter(places[0])}{first}:{column_letter(places[-1])}{first}")
        for i, column in enumerate(columns):
            if column not in grouped:
                merges.append(f"{column_letter(i)}{first}:{column_letter(i)}{first + 1}")
        return [*rows, top, low], merges

    def _title(self) -> str:
        if self.contract in CALENDAR_YEAR:
            return f"{self.year}年{self.county_name}{TITLES[self.contract]}"
        return f"{self.county_name}{self.year}-{self.year + 1}学年{TITLES[self.contract]}"

    def line_of(self, row: int) -> int:
        """Return the physical line (csv) or sheet row (xlsx), counted from 1, of data row ``row``."""
        if self.is_xlsx:
            return len(self.above()[0]) + row + 1
        breaks = 0
        if row:
            head = self.data.head(row).select(pl.col(self.columns).str.count_matches("\n").fill_null(0))
            breaks = int(head.sum_horizontal().sum())
        return row + 2 + breaks

    def write(self, root: Path) -> Path:
        """Write the file below ``root`` and return its path."""
        path = root / self.path
        data = self.data.select(self.columns)
        headers = [HEADERS[self.contract][c] for c in self.columns]
        if not self.is_xlsx:
            line_end = "\r\n" if self.county != "64" else "\n"
            write_csv(path, headers, data, self.habit.encoding, line_end=line_end, cut_rows=self.cut_rows)
            if self.blank_rows:
                with path.open("ab") as handle:
                    handle.write(("," * (len(headers) - 1) + line_end).encode("ascii") * self.blank_rows)
            return path
        above, merges = self.above()
        blanks: list[list[str | int | None]] = [[" "] for _ in range(self.blank_rows)]
        footer: list[list[str | int | None]] = [["填报人:马某　联系电话:0951-0000000"]]
        sheet = Sheet(
            self.sheet,
            above,
            data,
            merges,
            NUMBERS.get(self.contract, frozenset()),
            [*self.totals, *blanks, *footer],
        )
        write_xlsx(path, [sheet])
        return path


def habits(geo: Geography) -> dict[str, Habit]:
    """Return the habit of every county and of the province (``64``)."""
    result = {}
    for i, county in enumerate(geo.counties):
        if county.code in GB18030_COUNTIES:
            kind, encoding = "csv", "gb18030"
        elif county.code in UTF8_COUNTIES:
            kind, encoding = "csv", "utf-8-sig"
        else:
            kind, encoding = "xlsx", "utf-8"
        result[county.code] = Habit(
            kind,
            encoding,
            DATE_FORMATS[i % 5],
            YEAR_STYLES[i % 4],
            kind == "csv" and encoding == "utf-8-sig",
            county.city_code == MERGED_HEADER_CITY,
        )
    result["64"] = Habit("csv", "utf-8", "%Y-%m-%d", "short", False, False)
    result["64x"] = Habit("xlsx", "utf-8", "%Y-%m-%d", "short", False, False)
    return result


def school_year_text(column: str, style: str) -> pl.Expr:
    """Write a school year the way the county does; ``column`` holds the first calendar year."""
    year = pl.col(column)
    first, second = year.cast(pl.String), (year + 1).cast(pl.String)
    if style == "pair":
        return first + "-" + second
    if style == "words":
        return first + "-" + second + "学年"
    if style == "slash":
        return first + "/" + second
    return first + "/" + second.str.slice(2)


def as_text(contract: str, frame: pl.DataFrame, habit: Habit) -> pl.DataFrame:
    """Turn canonical values into the county's spelling (all String) and keep ``_row``."""
    expressions: list[pl.Expr] = []
    for name in HEADERS[contract]:
        dtype = frame.schema[name]
        if name == "school_year":
            text = school_year_text(name, habit.year_style)
        elif name == "enrolled_on":
            text = pl.col(name).dt.strftime("%Y%m")
        elif dtype == pl.Date:
            text = pl.col(name).dt.strftime(habit.date_format)
        elif dtype == pl.Boolean:
            text = pl.when(pl.col(name)).then(pl.lit("是")).when(~pl.col(name)).then(pl.lit("否")).otherwise(None)
        elif (contract, name) in LABELS_OF:
            text = pl.col(name).replace(LABELS[LABELS_OF[contract, name]])
        elif name in LABELS and not (habit.digits and name in DIGIT_COLUMNS):
            text = pl.col(name).replace(LABELS[name])
        else:
            text = pl.col(name).cast(pl.String)
        expressions.append(text.alias(name))
    return frame.select(*expressions, pl.col("_row"))


_DAYS = {
    "school": (0, "0920"),
    "enrollment_count": (0, "1015"),
    "pupil": (0, "1020"),
    "student_event": (0, "1010"),
    "poor_village": (1, "0115"),
    "poor_household": (1, "0110"),
    "poor_person": (1, "0110"),
    "population_age": (1, "0320"),
    "disabled_child": (1, "0120"),
    **aid_render.DAYS,
    **care_layout.DAYS,
}


def extract_date(contract: str, year: int, county_index: int) -> str:
    """Return the day (YYYYMMDD) on which the county sent the file: up to nine days after the province's first."""
    later, day = _DAYS[contract]
    return f"{year + later}{int(day) + county_index % 10:04d}"


def feed_files(
    tables: dict[str, pl.DataFrame],
    geo: Geography,
    years: tuple[int, int],
    which: Iterable[str] | None = None,
) -> list[FeedFile]:
    """Cut the canonical tables into files.

    Args:
        tables: canonical tables.
        geo: areas.
        years: first and last evaluation year; statistics and events before the first year are included because
            retention and primary rolls need them.
        which: contract ids (default: all).

    Returns:
        Files in a fixed order with their rows as strings.
    """
    by_county = habits(geo)
    names = {c.code: c.name for c in geo.counties} | {"64": "宁夏"}
    order = {c.code: i for i, c in enumerate(geo.counties)} | {"64": 0}
    files: list[FeedFile] = []
    for contract in (c for c in FOLDERS if c in tables) if which is None else which:
        table = tables[contract].with_row_index("_row").with_columns(pl.col("_row").cast(pl.Int64))
        stem = STEMS[contract]
        if contract in {"admin_area", "area_succession"}:
            files.append(
                FeedFile(
                    contract,
                    f"{stem}_64_宁夏_2020_20201101.csv",
                    "64",
                    "宁夏",
                    2020,
                    by_county["64"],
                    as_text(contract, table, by_county["64"]),
                )
            )
            continue
        first = years[0]
        if contract in {"enrollment_count", "student_event"}:
            first = 0
        table = table.filter(pl.col("_file_year").is_between(first, years[1]))
        if contract == "population_age":
            files += _population_files(table, by_county["64"])
            continue
        for (year, county), part in table.partition_by(
            "_file_year", "_file_county", as_dict=True, maintain_order=True
        ).items():
            assert isinstance(year, int)
            assert isinstance(county, str)
            habit = by_county[county]
            if contract == "enrollment_count" and county == "64":
                habit = by_county["64x"]
            suffix = "xlsx" if habit.format == "xlsx" else "csv"
            day = extract_date(contract, year, order[county])
            file = FeedFile(
                contract,
                f"{stem}_{county}_{names[county]}_{year}_{day}.{suffix}",
                county,
                names[county],
                year,
                habit,
                as_text(contract, part, habit),
            )
            if contract == "enrollment_count" and habit.format == "xlsx":
                file.totals = _totals(part, names)
            files.append(file)
    return files


def _population_files(table: pl.DataFrame, habit: Habit) -> list[FeedFile]:
    files = []
    keys = ["reference_year", "population_basis", "population_vintage"]
    for (year, basis, vintage), part in table.partition_by(keys, as_dict=True, maintain_order=True).items():
        assert isinstance(year, int)
        label = LABELS["population_basis"][str(basis)]
        day = "20210520" if vintage in {"backcast2021", "census2020"} else extract_date("population_age", year, 0)
        files.append(
            FeedFile(
                "population_age",
                f"{STEMS['population_age']}_64_宁夏_{year}_{label}_{vintage}_{day}.csv",
                "64",
                "宁夏",
                year,
                habit,
                as_text("population_age", part, habit),
            )
        )
    return files


def _totals(part: pl.DataFrame, names: dict[str, str]) -> list[list[str | int | None]]:
    """Return the 小计 rows (by stage, or by county in a provincial file) and the 合计 row below the data."""
    columns = list(HEADERS["enrollment_count"])
    numbers = [c for c in columns if c in NUMBERS["enrollment_count"]]
    by_county = part["county_code"].n_unique() > 1
    key = "county_code" if by_county else "stage"
    rows: list[list[str | int | None]] = []

    def line(label: str, rows_of: pl.DataFrame) -> list[str | int | None]:
        return [label, *[int(rows_of[c].sum()) if c in numbers else None for c in columns[1:]]]

    for value, group in part.partition_by(key, as_dict=True, maintain_order=True).items():
        label = names[str(value[0])] if by_county else _STAGE[str(value[0])]
        rows.append(line(f"{label}小计", group))
    rows.append(line("合计", part))
    return rows
