"""Page and json of an audit: what is protected, what an attacker gets at most, what it costs. Chinese first."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from disclosure.audit import AuditReport, Range
from disclosure.plan import measure_utility
from disclosure.utility import Utility
from warehouse.config import WarehouseConfig

_STYLE = """
body { font: 15px/1.5 "Noto Sans CJK SC", "Source Han Sans SC", sans-serif; margin: 2rem auto; max-width: 62rem;
       color: #1c2733; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.en { color: #5b6b7b; font-size: .9em; }
.verdict { display: inline-block; padding: .3rem .8rem; border-radius: .3rem; color: #fff; }
.pass { background: #1f7a4d; } .block { background: #b3261e; }
table { border-collapse: collapse; width: 100%; } th, td { border-bottom: 1px solid #d5dde5; padding: .35rem .6rem;
       text-align: left; vertical-align: top; } td.number, th.number { text-align: right; }
"""


def _table(header: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{html.escape(zh)}<br><span class='en'>{html.escape(en)}</span></th>" for zh, en in header)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=number' if isinstance(cell, int | float) else ''}>{html.escape(str(cell))}</td>"
            for cell in row
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _range(one: Range | None) -> str:
    if one is None:
        return "没有隐去的单元 nothing is withheld"
    width = "无上限 unbounded" if one.high is None else f"{one.width:.0f} 人 persons"
    return f"{width}（{one.cell}，{one.count}）"


def render(report: AuditReport, utility: Sequence[Utility]) -> str:
    """HTML page of an audit; no figure that is withheld stands on it."""
    verdict = (
        "<span class='verdict pass'>通过 passed</span>"
        if report.passed
        else f"<span class='verdict block'>阻断 blocked：{len(report.findings)}</span>"
    )
    parts = [
        f"<h1>披露审计 {html.escape(report.subject)}</h1><p class='en'>disclosure audit, evaluation year"
        f" {report.evaluation_year}</p><p>{verdict}</p>",
        "<p>攻击者掌握全部已公布的表、以前各版本、新旧区划和本规则；下列区间是他用线性规划和整数推理最多能得到的。"
        "<br><span class='en'>The attacker holds every published table, every earlier release, old and new boundaries"
        " and this policy; the intervals are what linear programs and whole-number reasoning leave him.</span></p>",
        "<h2>保护了什么 <span class='en'>what is protected</span></h2>",
        _table(
            [("项目", "item"), ("数量", "number")],
            [
                ("敏感单元 sensitive cells", report.cells),
                ("公布 shown (F)", report.shown),
                ("因人数少隐去 withheld as small (A)", report.primary),
                ("为保护其他单元隐去 withheld for protection (D)", report.secondary),
                ("其中以界限代替 of them shown as a bound (≥, ≤)", report.bounds),
                ("取整公布的密集单元 dense cells, shown rounded", report.rounded),
                ("受攻击的计数 counts attacked", report.counts),
                ("与已审计版本完全相同的表 tables as published and audited before", report.repeated),
                ("一并考虑的以前版本 earlier releases", ", ".join(report.releases) or "无 none"),
                ("最窄区间 narrowest interval", _range(report.narrowest)),
                ("最宽区间 widest interval", _range(report.widest)),
                ("规则 policy (sha256)", report.policy_sha256[:16]),
                ("用时 seconds", report.seconds),
            ],
        ),
        "<h2>代价 <span class='en'>what it costs</span></h2>",
        _table(
            [
                ("集市", "mart"), ("方法", "method"), ("单元", "cells"), ("隐去", "withheld"),
                ("其中主指标", "headline"), ("其中合计", "totals"), ("平均误差(人)", "mean error"),
                ("最大误差(人)", "largest"), ("比率平均误差(百分点)", "mean, rates"), ("最大", "largest, rates"),
                ("采用", "used"),
            ],
            [tuple(asdict(one).values()) for one in utility],
        ),
    ]  # fmt: skip
    for zh, en, found in (
        ("不合规则的单元", "cells that give away more than the policy allows", report.findings),
        ("以前版本已经泄露、无法补救", "given away by earlier releases; no new one can mend it", report.inherited),
    ):
        parts.append(f"<h2>{zh} <span class='en'>{en}</span></h2>")
        parts.append(
            _table(
                [("单元", "cell"), ("规则", "rule"), ("说明", "what")],
                [(one.cell, one.rule, one.note) for one in found],
            )
            if found
            else "<p>无 none</p>"
        )
    return (
        f"<!doctype html><html lang='zh'><meta charset='utf-8'><title>披露审计 {html.escape(report.subject)}</title>"
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>"
    )


def write_report(report: AuditReport, config: WarehouseConfig, folder: Path) -> Path:
    """Write the page and its json to a folder; returns the page."""
    utility = measure_utility(config, report.evaluation_year)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"disclosure_{report.evaluation_year}.html"
    page.write_text(render(report, utility), encoding="utf-8")
    page.with_suffix(".json").write_text(
        json.dumps(
            report.to_json() | {"utility": [asdict(one) for one in utility]},
            ensure_ascii=False,
            indent=2,
            sort_keys=True,
        )
        + "\n",
        encoding="utf-8",
    )
    return page
