"""The ledger of education funds (E15): what is given, arrives and is paid out, by county, stage and school."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import polars as pl

from simulator.aid_due import Tables
from simulator.aid_rules import ITEM
from simulator.geography import Geography
from simulator.plan import YEARS

FUND_STAGES = ("preschool", "compulsory", "senior", "vocational", "higher", "postgraduate")
_STAGE_OF = {"primary": "compulsory", "junior": "compulsory"}
_PROGRAM = {"compulsory": "nutrition", "higher": "loan_subsidy"}
_NAME = {
    "preschool": "学前教育资助补助资金", "compulsory": "营养改善计划补助资金", "senior": "普通高中资助补助资金",
    "vocational": "中职资助补助资金", "higher": "国家助学贷款奖补资金", "postgraduate": "研究生资助补助资金",
}  # fmt: skip
#: yuan a head and year
OPERATING = {"primary": 600, "junior": 800}
SPECIAL_BEFORE, SPECIAL_SINCE_2016, SPECIAL_RICH = 4000, 6000, 6500
RICH_COUNTIES = ("640104", "640402")
SHORT_COUNTY, SHORT_YEAR, SHORT_YUAN = "640324", 2017, 5200
LATE_COUNTY = "640221"
SCHEMA = {
    "fiscal_year": pl.Int64, "document_number": pl.String, "fund_name": pl.String, "program_code": pl.String,
    "stage": pl.String, "entitlement_code": pl.String, "source_level": pl.String, "movement": pl.String,
    "county_code": pl.String, "recipient_school_code": pl.String, "grant_kind": pl.String, "pupil_count": pl.Int64,
    "amount_yuan": pl.Int64, "entry_date": pl.Date, "payer_student_number": pl.String, "_token": pl.String,
}  # fmt: skip


#: year, county, school, pupils
_Grant = tuple[int, str, str, int]


@dataclass
class _Ledger:
    """Collects entries; documents are numbered as they come."""

    rows: list[dict[str, object]] = field(default_factory=list)
    documents: int = 0

    def document(self, year: int) -> str:
        self.documents += 1
        return f"宁财教〔{year}〕{self.documents}号"

    def add(self, day: date, movement: str, amount: int, **cells: object) -> None:
        self.rows.append(
            {"fiscal_year": day.year, "movement": movement, "amount_yuan": amount, "entry_date": day} | cells
        )

    def cycle(self, year: int, place: int, amount: int, **cells: object) -> None:
        """Money is allocated in spring, arrives within two months and is paid out by the end of the year."""
        given = date(year, 3, 2 + place)
        self.add(given, "allocated", amount, **cells)
        self.add(given + timedelta(days=25 + place), "arrived", amount, **cells)
        half = amount // 2
        self.add(date(year, 6, 3 + place), "paid", half, **cells)
        self.add(date(year, 11, 3 + place), "paid", amount - half, **cells)


def fund_ledger(tables: Tables, primary: pl.DataFrame, geo: Geography, scale: float, seed: int) -> pl.DataFrame:
    """Return the canonical table ``fund_ledger``.

    Args:
        tables: canonical tables, of them ``aid_payment`` and ``school``.
        primary: primary rolls.
        geo: areas.
        scale: scale of the sample (number of planted cases).
        seed: random seed.
    """
    rng = np.random.default_rng([seed, 97])
    ledger = _Ledger()
    _aid(ledger, tables["aid_payment"], geo)
    _operating(ledger, primary, geo)
    _special(ledger, primary, tables["school"], geo, scale, rng)
    _idle(ledger, geo, scale, rng)
    _fees(ledger, tables["aid_payment"], primary, scale, rng)
    frame = pl.DataFrame(ledger.rows, schema=SCHEMA).filter(pl.col("fiscal_year").is_between(YEARS[0], YEARS[-1]))
    ordered = frame.sort(
        "fiscal_year", "entry_date", "county_code", "program_code", "stage", "recipient_school_code", "movement",
        "grant_kind", "document_number", "payer_student_number",
    )  # fmt: skip
    serial = pl.int_range(1, pl.len() + 1).over("fiscal_year").cast(pl.String).str.zfill(7)
    return ordered.with_columns(
        entry_number=pl.format("PZ{}{}", "fiscal_year", serial), _file_county=pl.lit("64"), _file_year="fiscal_year"
    ).select(
        "fiscal_year", "entry_number", *[c for c in SCHEMA if c != "fiscal_year"], "_file_county", "_file_year"
    )  # fmt: skip


def is_funded(stage: str, county: str, year: int, is_plan: bool) -> bool:
    """Tell whether money for aid of a stage is given to a county in a year: four stages at first, six in the end."""
    if stage == "preschool":
        return year >= (2016 if is_plan else 2017 if county.startswith("6401") else 2018)
    if stage == "postgraduate":
        return year >= (2018 if county.startswith("6401") else 2020 if county == LATE_COUNTY else 2019)
    return not (stage == "senior" and county == LATE_COUNTY and year == 2016)


def _aid(ledger: _Ledger, payments: pl.DataFrame, geo: Geography) -> None:
    stages = {code: _STAGE_OF.get(item.stage, item.stage) for code, item in ITEM.items()}
    spent = {
        (str(c), int(y), str(s)): int(n)
        for c, y, s, n in payments.group_by(
            "county_code", "aid_year", stage=pl.col("entitlement_code").replace_strict(stages)
        )
        .agg(pl.col("amount_yuan").sum())
        .iter_rows()
    }
    for year in YEARS:
        for place, county in enumerate(geo.counties):
            for stage in FUND_STAGES:
                if is_funded(stage, county.code, year, county.is_plan):
                    # Rounded up to thousands, and something even where nobody was paid.
                    amount = (spent.get((county.code, year, stage), 0) // 1000 + 2) * 1000
                    ledger.cycle(
                        year, place, amount, document_number=ledger.document(year), fund_name=_NAME[stage],
                        program_code=_PROGRAM.get(stage, "aid"), stage=stage, source_level="central",
                        county_code=county.code,
                    )  # fmt: skip


def _by_school(rows: pl.DataFrame) -> list[_Grant]:
    counts = rows.group_by("school_year", "county_code", "school_code").len().sort(pl.all())
    return [(int(y), str(c), str(s), int(n)) for y, c, s, n in counts.iter_rows()]


def _operating(ledger: _Ledger, primary: pl.DataFrame, geo: Geography) -> None:
    """Uniform grants of compulsory schools: one document per county and year, one payment per school."""
    place = {c.code: i for i, c in enumerate(geo.counties)}
    rates = primary.filter(pl.col("stage").is_in(list(OPERATING))).with_columns(
        yuan=pl.col("stage").replace_strict(OPERATING, return_dtype=pl.Int64)
    )
    schools = (
        rates.group_by("school_year", "county_code", "school_code")
        .agg(pl.len(), pl.col("yuan").sum())
        .sort("school_year", "county_code", "school_code")
    )
    for (year, county), part in schools.group_by("school_year", "county_code", maintain_order=True):
        assert isinstance(year, int)
        shift = place[str(county)]
        cells: dict[str, object] = {
            "document_number": ledger.document(year), "fund_name": "城乡义务教育补助经费",
            "program_code": "operating_grant", "stage": "compulsory", "source_level": "central", "county_code": county,
        }  # fmt: skip
        total = int(part["yuan"].sum())
        ledger.add(date(year, 2, 3 + shift), "allocated", total, **cells)
        ledger.add(date(year, 3, 3 + shift), "arrived", total, **cells)
        for _, _, school, pupils, yuan in part.iter_rows():
            ledger.add(
                date(year, 4, 3 + shift), "paid", yuan, pupil_count=pupils, recipient_school_code=school, **cells
            )


def special_rate(county: str, year: int) -> int:
    """Return the yuan a head for pupils of special education."""
    if (county, year) == (SHORT_COUNTY, SHORT_YEAR):
        return SHORT_YUAN
    if year < 2016:
        return SPECIAL_BEFORE
    return SPECIAL_RICH if county in RICH_COUNTIES else SPECIAL_SINCE_2016


def _inflated(hosts: list[_Grant], count: int, rng: np.random.Generator) -> dict[_Grant, int]:
    """Choose the grants paid for two or three pupils more than the register has, or had the year before."""
    before = {(year + 1, school): pupils for year, _, school, pupils in hosts}
    chosen: dict[_Grant, int] = {}
    for i in rng.permutation(len(hosts)).tolist():
        year, _, school, pupils = hosts[i]
        if len(chosen) < count and pupils >= before.get((year, school), 0):
            chosen[hosts[i]] = 2 + len(chosen) % 2
    return chosen


def _special(
    ledger: _Ledger, primary: pl.DataFrame, school: pl.DataFrame, geo: Geography, scale: float, rng: np.random.Generator
) -> None:
    """Grants of special schools and of the schools where disabled pupils learn with the others (I17)."""
    place = {c.code: i for i, c in enumerate(geo.counties)}
    special = school.filter(pl.col("school_type_code").str.starts_with("51"))["school_code"].unique()
    there = pl.col("school_code").is_in(special.to_list())
    grants = {
        "special_school": _by_school(primary.filter(there)),
        "inclusive": _by_school(primary.filter(pl.col("is_inclusive_education") & ~there)),
    }
    inflated = _inflated(grants["inclusive"], max(2, round(8 * scale)), rng)
    documents: dict[tuple[int, str], str] = {}
    totals: dict[tuple[int, str], int] = {}
    for kind, schools in grants.items():
        for entry in schools:
            year, county, code, pupils = entry
            paid_for = pupils + (inflated.get(entry, 0) if kind == "inclusive" else 0)
            known = (year, county)
            if known not in documents:
                documents[known] = ledger.document(year)
            amount = paid_for * special_rate(county, year)
            totals[known] = totals.get(known, 0) + amount
            ledger.add(
                date(year, 5, 3 + place[county]), "paid", amount, document_number=documents[known],
                fund_name="特殊教育公用经费", program_code="special_operating_grant", stage="compulsory",
                source_level="region", county_code=county, recipient_school_code=code, grant_kind=kind,
                pupil_count=paid_for,
            )  # fmt: skip
    for (year, county), total in totals.items():
        for movement, month in (("allocated", 2), ("arrived", 4)):
            ledger.add(
                date(year, month, 3 + place[county]), movement, total, document_number=documents[year, county],
                fund_name="特殊教育公用经费", program_code="special_operating_grant", stage="compulsory",
                source_level="region", county_code=county,
            )  # fmt: skip


def _idle(ledger: _Ledger, geo: Geography, scale: float, rng: np.random.Generator) -> None:
    """Money idle for more than twelve months, spent on something else, or left with a school (I14); and near to it."""
    order = [int(i) for i in rng.permutation(len(geo.counties))]
    count = max(2, round(6 * scale))
    used = 0

    def cells(year: int) -> dict[str, object]:
        nonlocal used
        used += 1
        return {
            "document_number": ledger.document(year), "fund_name": "学生资助奖补资金", "program_code": "aid",
            "stage": "senior", "source_level": "region", "county_code": geo.counties[order[used % len(order)]].code,
        }  # fmt: skip

    for k in range(count):
        year = (2017, 2018, 2016, 2019)[k % 4]
        ledger.add(date(year, 4, 10), "allocated", 50_000 + 10_000 * k, **cells(year))
        # Spent, but on running costs; sent back, but to a school.
        other = cells(year)
        ledger.add(date(year, 4, 10), "allocated", 40_000, **other)
        ledger.add(date(year, 6, 2), "paid", 30_000, **other)
        ledger.add(date(year, 9, 2), "paid", 10_000, **{**other, "program_code": "operating_grant"})
        back = cells(year)
        ledger.add(date(year, 4, 10), "allocated", 30_000, **back)
        ledger.add(date(year, 6, 2), "paid", 25_000, **back)
        school = f"3464{900_000 + k:06d}"
        ledger.add(date(year, 10, 2), "returned", 5_000, recipient_school_code=school, **back)
    # Near: paid in the eleventh month, the rest given back to the treasury, too young to judge, a rest of 5 percent.
    late = cells(2017)
    ledger.add(date(2017, 1, 20), "allocated", 80_000, **late)
    ledger.add(date(2017, 12, 15), "paid", 80_000, **late)
    rest = cells(2018)
    ledger.add(date(2018, 6, 5), "allocated", 60_000, **rest)
    ledger.add(date(2019, 5, 4), "arrived", 60_000, **rest)
    ledger.add(date(2019, 5, 20), "paid", 40_000, **rest)
    ledger.add(date(2019, 5, 25), "returned", 20_000, **rest)
    ledger.add(date(2020, 9, 10), "allocated", 70_000, **cells(2020))
    small = cells(2016)
    ledger.add(date(2016, 3, 10), "allocated", 100_000, **small)
    ledger.add(date(2016, 8, 10), "paid", 95_000, **small)


def _fees(
    ledger: _Ledger, payments: pl.DataFrame, primary: pl.DataFrame, scale: float, rng: np.random.Generator
) -> None:
    """Fees of upper-secondary schools in sum and of single pupils; some of those had the fee waived (I21)."""
    seniors = primary.filter(pl.col("stage") == "senior")
    for year, county, school, pupils in _by_school(seniors):
        ledger.add(
            date(year, 9, 20), "income", 320 * pupils, fund_name="普通高中学费", program_code="fee_income",
            stage="senior", source_level="county", county_code=county, recipient_school_code=school,
        )  # fmt: skip
    waived = payments.filter(
        (pl.col("entitlement_code") == "EN06") & ~pl.col("is_reversed") & (pl.col("term") == "autumn")
    )
    by_year = waived.select("_token", "aid_year").unique()
    once = waived.unique(["_token"], keep="first", maintain_order=True)
    count = max(2, round(10 * scale))
    rows = [once.row(int(i), named=True) for i in rng.permutation(once.height)[:count]]
    for row in rows:
        _fee(ledger, row["aid_year"], row)
    taken = {row["_token"] for row in rows}
    # Whoever paid in the year before the waiver came into force did nothing wrong, nor did who never had a waiver.
    before = (
        seniors.filter((pl.col("school_year") == 2015) & ~pl.col("_token").is_in(list(taken)))
        .join(by_year.select("_token").unique(), on="_token", how="semi")
        .sort("_token")
    )
    never = (
        seniors.filter(pl.col("school_year") >= 2016)
        .join(by_year.select("_token").unique(), on="_token", how="anti")
        .sort("school_year", "_token")
    )
    for frame, wanted in ((before, 2), (never, max(3, count))):
        for i in rng.permutation(frame.height)[:wanted]:
            row = frame.row(int(i), named=True)
            _fee(ledger, row["school_year"], row)


def _fee(ledger: _Ledger, year: int, row: dict[str, object]) -> None:
    ledger.add(
        date(year, 9, 8), "income", 400, fund_name="普通高中学费", program_code="fee_income", stage="senior",
        source_level="county", county_code=row["county_code"], recipient_school_code=row["school_code"],
        payer_student_number=row["student_number"], _token=row["_token"],
    )  # fmt: skip
