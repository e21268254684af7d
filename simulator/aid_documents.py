"""Policy documents (E25): which aid, insurance and care rules are in force where, and since when."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from simulator.geography import Geography
from simulator.plan import YEARS

_LEVELS = {2: "region", 4: "city", 6: "county", 9: "township"}

# area, type, title, stage, entitlement, in force from, to
Document = tuple[str, str, str, str | None, str | None, date, date | None]
# area, title, stage, entitlement, in force from, to
_AID: tuple[tuple[str, str, str, str | None, date, date | None], ...] = (
    ("64", "农村义务教育寄宿生生活补助办法", "compulsory", None, date(2012, 9, 1), None),
    ("64", "普通高中国家助学金管理办法", "senior", None, date(2010, 9, 1), None),
    ("64", "中等职业学校国家助学金管理办法", "vocational", None, date(2012, 9, 1), None),
    ("64", "高等学校国家助学金管理办法", "higher", None, date(2007, 9, 1), None),
    ("64", "规划县学前两年免保教费实施办法", "preschool", "EN01", date(2016, 1, 1), None),
    ("64", "建档立卡普通高中学生免学费实施办法", "senior", "EN06", date(2016, 9, 1), None),
    ("64", "区内高职建档立卡学生资助办法", "higher", "EN10", date(2016, 9, 1), None),
    ("64", "研究生国家助学金管理办法", "postgraduate", None, date(2018, 1, 1), None),
    ("6404", "市属中职学校免费教育实施方案", "vocational", "EN08", date(2016, 9, 1), None),
    # fees of the last two kindergarten years outside the plan counties; one document ends and another follows,
    # one comes into force just after the cut-off of the semester and one on the very day
    ("640104", "学前两年资助实施方案", "preschool", "EN02", date(2017, 3, 1), date(2019, 8, 31)),
    ("640104", "学前两年资助实施方案(修订)", "preschool", "EN02", date(2019, 9, 1), None),
    ("640105", "学前两年资助实施方案", "preschool", "EN02", date(2017, 9, 1), None),
    ("640106", "学前两年资助实施方案(试行)", "preschool", "EN02", date(2017, 3, 1), date(2018, 10, 15)),
    ("640106", "学前两年资助实施方案", "preschool", "EN02", date(2019, 9, 1), None),
    ("6402", "学前两年资助实施方案", "preschool", "EN02", date(2018, 3, 1), None),
    ("640121", "学前两年资助实施方案", "preschool", "EN02", date(2018, 9, 1), None),
    ("640122", "学前两年资助实施方案", "preschool", "EN02", date(2018, 9, 1), None),
    ("640181", "学前两年资助实施方案", "preschool", "EN02", date(2018, 9, 1), None),
    ("640302", "学前两年资助实施方案", "preschool", "EN02", date(2019, 3, 16), None),
    ("640381", "学前两年资助实施方案", "preschool", "EN02", date(2019, 9, 1), None),
    ("640502", "学前两年资助实施方案", "preschool", "EN02", date(2019, 9, 1), None),
    ("640521", "学前两年资助实施方案", "preschool", "EN02", date(2020, 3, 15), None),
    # free upper-secondary schooling, county by county, then everywhere
    ("640324", "普通高中免费教育实施方案", "senior", "EN07", date(2017, 9, 1), None),
    ("640422", "普通高中免费教育实施方案", "senior", "EN07", date(2017, 9, 1), None),
    ("640402", "普通高中免费教育实施方案", "senior", "EN07", date(2018, 3, 1), None),
    ("640522", "普通高中免费教育实施方案", "senior", "EN07", date(2018, 9, 1), None),
    ("6401", "普通高中免费教育实施方案", "senior", "EN07", date(2018, 9, 1), None),
    ("64", "普通高中免费教育推广办法", "senior", "EN07", date(2019, 9, 1), None),
    # free vocational schooling outside Guyuan
    ("640104", "中职免费教育实施方案", "vocational", "EN09", date(2017, 9, 1), None),
    ("640105", "中职免费教育实施方案", "vocational", "EN09", date(2017, 9, 1), None),
    ("6405", "中职免费教育实施方案", "vocational", "EN09", date(2018, 3, 1), None),
    ("640121", "中职免费教育实施方案", "vocational", "EN09", date(2018, 9, 1), None),
    ("6403", "中职免费教育实施方案", "vocational", "EN09", date(2019, 3, 1), None),
    ("6402", "中职免费教育实施方案", "vocational", "EN09", date(2020, 3, 1), None),
)
#: first year with agreement, post and claims register all in force (plan counties first)
_RISK_SYSTEM = {
    "640402": 2016, "640324": 2017, "640522": 2017, "640422": 2018, "640303": 2018, "640425": 2019, "640423": 2019,
    "640323": 2020, "640424": 2020, "640104": 2019, "640302": 2020,
}  # fmt: skip
_RISK_TITLES = {
    "risk_service_agreement": "校园风险管理服务协议",
    "risk_post": "校园风险管理岗位设置通知",
    "claims_register": "校园风险理赔台账管理办法",
}
# share of townships with a care network: plan counties first
_NETWORK_SHARE = dict(zip(YEARS, ((0.08, 0.0), (0.22, 0.05), (0.4, 0.15), (0.6, 0.3), (0.82, 0.5), (0.95, 0.7)),
                          strict=True))  # fmt: skip


def policy_documents(geo: Geography, seed: int) -> pl.DataFrame:
    """Return the canonical table ``policy_document``."""
    names = dict(geo.admin_area.select("area_code", "area_name").iter_rows())
    rows: list[Document] = [
        (area, "aid_policy", t, stage, item, since, until) for area, t, stage, item, since, until in _AID
    ]
    # A county had a scheme of its own before the region: it is not the region's.
    rows.append(("640402", "insurance_scheme", "学生综合保险方案(试点)", None, None, date(2016, 9, 1), None))
    rows.append(("64", "insurance_scheme", "学生综合保险方案", None, None, date(2018, 6, 1), None))
    for county, year in _RISK_SYSTEM.items():
        for place, (kind, title) in enumerate(_RISK_TITLES.items()):
            # The agreement comes first, often a year before the register of claims completes the system.
            since = date(max(year - (1 if place == 0 else 0), YEARS[0]), 3 + 3 * place, 1)
            rows.append((county, kind, title, None, None, since, None))
    for kind, title in _RISK_TITLES.items():
        # An agreement that ran out the day before the end of the year takes the county's system with it.
        until = date(2018, 12, 30) if kind == "risk_service_agreement" else None
        rows.append(("640502", kind, title, None, None, date(2017, 5, 1), until))
    rows += _care_networks(geo, seed)
    frame = pl.DataFrame(
        [
            (max(since.year, YEARS[0]), _LEVELS[len(area)], area, kind, f"{names[area]}{title}", stage, item,
             since - timedelta(days=20), since, until)
            for area, kind, title, stage, item, since, until in rows
        ],
        orient="row",
        schema={
            "document_year": pl.Int64, "issuer_level": pl.String, "area_code": pl.String, "document_type": pl.String,
            "title": pl.String, "stage": pl.String, "entitlement_code": pl.String, "issued_on": pl.Date,
            "effective_from": pl.Date, "effective_to": pl.Date,
        },
    ).sort("document_year", "document_type", "area_code", "effective_from", "title")  # fmt: skip
    serial = pl.int_range(1, pl.len() + 1).over("document_year").cast(pl.String)
    return frame.with_columns(
        document_year=pl.col("document_year"),
        document_id=pl.format("ZC{}{}", "document_year", serial.str.zfill(4)),
        document_number=pl.format("宁教发〔{}〕{}号", pl.col("issued_on").dt.year(), serial),
        _file_county=pl.lit("64"),
        _file_year=pl.col("document_year"),
    ).select(
        "document_year", "document_id", "document_number", "title", "issuer_level", "area_code", "document_type",
        "stage", "entitlement_code", "issued_on", "effective_from", "effective_to", "_file_county", "_file_year",
    )  # fmt: skip


def _care_networks(geo: Geography, seed: int) -> list[Document]:
    rng = np.random.default_rng([seed, 91])
    townships = geo.admin_area.filter((pl.col("area_level") == "乡") & pl.col("valid_to").is_null())["area_code"]
    rows: list[Document] = []
    for county in geo.counties:
        mine = sorted(code for code in townships if code[:6] == county.code)
        order = [mine[i] for i in rng.permutation(len(mine))]
        done = 0
        for year in YEARS:
            goal = round(_NETWORK_SHARE[year][0 if county.is_plan else 1] * len(order))
            for code in order[done:goal]:
                rows.append((code, "care_network", "留守儿童关爱服务网络建设方案", None, None, date(year, 5, 10), None))
            done = max(done, goal)
    return rows
