"""A register of made-up pupils as csv, the same bytes for the same number of rows, and the same register a night later.

ID numbers stand on the unassigned area prefix 6499xx and belong to nobody.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ingest.columns import check_values

PERIOD = 2016
CHUNK = 700_000
SHARE_MODIFIED = 0.014
SHARE_GONE = 0.003
SHARE_NEW = 0.003
_COUNTIES = [
    "640104",
    "640105",
    "640106",
    "640121",
    "640122",
    "640181",
    "640202",
    "640205",
    "640221",
    "640302",
    "640303",
    "640323",
    "640324",
    "640381",
    "640402",
    "640422",
    "640423",
    "640424",
    "640425",
    "640502",
    "640521",
    "640522",
]
_SURNAMES = list("马王李杨张刘陈田丁白哈纳虎海金何苏周吴郭")
_GIVEN = list("小明芳华军丽伟强秀英建国玉兰文博雅静涛慧宇轩梓涵子欣怡")
_VILLAGES = [f"{a}{b}村" for a in "红黄上下东西南北新老" for b in "庄湾沟塬坪川堡台滩岔"]
_TOWNS = [f"{a}{b}" for a in "马李王张白吴" for b in ("莲乡", "河镇", "家乡", "岔镇", "堡镇")]
#: grade -> (stage, age on 1 September)
_GRADES = {
    **{f"P{grade}": ("primary", 5 + grade) for grade in range(1, 7)},
    **{f"J{grade}": ("junior", 11 + grade) for grade in range(1, 4)},
    **{f"S{grade}": ("senior", 14 + grade) for grade in range(1, 4)},
}
HEADERS = [
    "学年",
    "县代码",
    "学校标识码",
    "登记号",
    "姓名",
    "性别",
    "出生日期",
    "证件类型",
    "证件号码",
    "民族",
    "户口所在地区划代码",
    "户口性质",
    "学段",
    "年级",
    "班级",
    "入学年月",
    "就读方式",
    "残疾类型",
    "随班就读",
    "是否留守儿童",
    "随迁子女",
    "孤儿",
    "监护人姓名",
    "监护人关系",
    "上学用时",
    "营养餐补助",
    "生活补助",
    "体检日期",
    "身高",
    "家庭住址",
]


def _pick(random: np.random.Generator, values: list[str], count: int) -> pl.Series:
    return pl.Series(values).gather(random.integers(0, len(values), count))


def _skewed(random: np.random.Generator, values: list[str], shares: list[float], count: int) -> pl.Series:
    return pl.Series(values).gather(random.choice(len(values), count, p=shares))


def rows(first: int, count: int, version: int = 0) -> pl.DataFrame:
    """Pupils number ``first`` … ``first + count - 1``; another version gives other classes, boarding and heights."""
    random = np.random.default_rng([first, count, 1])
    index = np.arange(first, first + count)
    grade_at = random.integers(0, len(_GRADES), count)
    grade = pl.Series(list(_GRADES)).gather(grade_at)
    stage = pl.Series([stage for stage, _ in _GRADES.values()]).gather(grade_at)
    age = np.array([age for _, age in _GRADES.values()])[grade_at]
    # born in the twelve months before the day on which this age was reached
    birthday = np.datetime64(f"{PERIOD}-08-31") - (age * 365.25).astype(int) - random.integers(0, 360, count)
    birth = pl.Series(birthday.astype("datetime64[D]"))
    sex = random.integers(1, 3, count)
    # area 6499 + 2 digits and the number within the day make every ID different
    sequence = (index // 100) % 500
    day_number = (
        pl.DataFrame({"b": birth}).select(pl.col("b").dt.strftime("%Y%m%d").cast(pl.Int64)).to_series().to_numpy()
    )
    area = 649900 + index % 100
    # the day moves with the index, so that equal area and sequence never meet on one day
    body = area * 10**11 + day_number * 1000 + sequence * 2 + (sex % 2)
    digits = check_values(body)
    check = pl.Series(list("0123456789X")).gather(digits)
    number = pl.Series(body).cast(pl.String) + check
    county = pl.Series(_COUNTIES).gather((index * len(_COUNTIES)) // max(1, first + count) % len(_COUNTIES))
    school = pl.Series(random.integers(0, 2000, count))
    family = _pick(random, _SURNAMES, count)
    later = np.random.default_rng([first, count, 2 + version])
    enrolled = pl.Series(PERIOD - random.integers(0, 6, count)).cast(pl.String)
    frame = pl.DataFrame(
        {
            "学年": pl.Series(["2016/17"]).new_from_index(0, count),
            "县代码": county,
            "学校标识码": "2164" + (school + 100).cast(pl.String).str.zfill(6),
            "登记号": pl.Series(index + 100_000_000_000).cast(pl.String),
            "姓名": family + _pick(random, _GIVEN, count) + _pick(random, _GIVEN, count),
            "性别": pl.Series(sex).cast(pl.String),
            "出生日期": birth.dt.strftime("%Y-%m-%d"),
            "证件类型": pl.Series(["1"]).new_from_index(0, count),
            "证件号码": number,
            "民族": _skewed(random, ["03", "01", "11"], [0.5, 0.45, 0.05], count),
            "户口所在地区划代码": county + pl.Series(random.integers(100_000, 300_000, count)).cast(pl.String),
            "户口性质": _skewed(random, ["1", "2"], [0.8, 0.2], count),
            "学段": stage,
            "年级": grade,
            "班级": pl.Series(later.integers(1, 20, count)).cast(pl.String).str.zfill(2),
            "入学年月": enrolled + "-09-01",
            "就读方式": _skewed(later, ["1", "2"], [0.7, 0.3], count),
            "残疾类型": _skewed(random, ["0", "1", "2", "3", "4"], [0.97, 0.01, 0.005, 0.01, 0.005], count),
            "随班就读": _skewed(random, ["0", "1"], [0.98, 0.02], count),
            "是否留守儿童": _skewed(random, ["0", "1", "2"], [0.8, 0.1, 0.1], count),
            "随迁子女": _skewed(random, ["0", "1"], [0.9, 0.1], count),
            "孤儿": _skewed(random, ["0", "1"], [0.995, 0.005], count),
            "监护人姓名": family + _pick(random, _GIVEN, count),
            "监护人关系": _skewed(random, ["父亲", "母亲", "祖父", "祖母", "其他"], [0.4, 0.35, 0.1, 0.1, 0.05], count),
            "上学用时": pl.Series(random.integers(3, 90, count)).cast(pl.String),
            "营养餐补助": _skewed(random, ["0", "800", "1000"], [0.3, 0.4, 0.3], count),
            "生活补助": _skewed(random, ["0", "1000", "1250"], [0.7, 0.2, 0.1], count),
            "体检日期": _skewed(random, ["2016-03-15", "2016-04-12", "2016-05-20", ""], [0.4, 0.3, 0.2, 0.1], count),
            "身高": pl.Series(later.integers(900, 1900, count)).cast(pl.String),
            "家庭住址": "宁夏" + _pick(random, _TOWNS, count) + _pick(random, _VILLAGES, count),
        }
    )
    assert frame.columns == HEADERS
    return frame


def write(path: Path, count: int, *, changed: bool = False) -> None:
    """Write the register of ``count`` pupils.

    Args:
        path: the csv; its folder exists.
        count: pupils.
        changed: the register a night later: of a hundred rows 1.4 differ, 0.3 are gone, 0.3 are new, all scattered.
    """
    with path.open("wb") as out:
        out.write((",".join(HEADERS) + "\n").encode())
        for first in range(0, count, CHUNK):
            size = min(CHUNK, count - first)
            frame = rows(first, size)
            if changed:
                frame = _next_night(frame, first, size, count)
            frame.write_csv(out, include_header=False, null_value="", quote_style="never")


def _next_night(frame: pl.DataFrame, first: int, size: int, count: int) -> pl.DataFrame:
    draw = pl.Series(np.random.default_rng([first, size, 9]).random(size))
    other = rows(first, size, version=1)
    new_count = int(size * SHARE_NEW)
    new = rows(count + first, new_count)
    # what is new stands among the rest: it replaces nothing, rows that are gone leave no gap
    kept = pl.concat(
        [
            frame.with_columns(pl.int_range(size).alias("?at")).filter(draw >= SHARE_MODIFIED + SHARE_GONE),
            other.with_columns(pl.int_range(size).alias("?at")).filter(draw < SHARE_MODIFIED),
            new.with_columns((pl.int_range(new_count) * size // max(1, new_count)).alias("?at")),
        ]
    )
    return kept.sort("?at", maintain_order=True).drop("?at")
