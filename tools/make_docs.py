"""Make the reference pages below docs/ from what the pipeline itself reads, so that they cannot say anything else.

* ``docs/indicators/<code>.md`` from the indicator registry and its companions (dbt_project/seeds/*.csv)
* ``docs/feeds/<feed>.md`` from the data contracts (ingest/contracts/*.odcs.yaml)
* ``docs/marts/<mart>.md`` from the properties of the marts (dbt_project/models/marts/*.yml)
* ``docs/quality_rules.md`` from the suites (expectations/suites)
* ``docs/roles.md`` from warehouse/roles.yaml

Usage: ``.venv/bin/python tools/make_docs.py`` writes them; with ``--check`` it writes nothing, names the pages that are
stale, missing or left over, and exits with 1 if there are any.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SEEDS = ROOT / "dbt_project" / "seeds"
CONTRACTS = ROOT / "ingest" / "contracts"
MARTS = ROOT / "dbt_project" / "models" / "marts"
FOLDERS = ("indicators", "feeds", "marts")

OPERATORS = {">=": "≥", "<=": "≤", "=": "="}
YEAR_BASIS = {
    "stated": "计划原文写明 stated in the plan",
    "assumed": "原文年份被隐去，按假定 assumed, the text hides the year",
    "from_heading": "取自“到2020年”的总提法 from the heading “by 2020”",
    "outer_bound": "原文无年份，取计划期末 no year given, end of the plan taken",
    "config": "由配置给定 configured",
}
BASIS = {"resident": "常住人口 resident", "registered": "户籍人口 registered", "none": "—"}
TYPES = {"string": "文本 text", "integer": "整数 integer", "date": "日期 date", "boolean": "是否 boolean"}


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a seed."""
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def cell(text: object) -> str:
    """Text that is safe inside a Markdown table."""
    return " ".join(str(text).replace("|", "\\|").split())


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; an empty string where there is no row."""
    body = [f"| {' | '.join(map(cell, row))} |" for row in rows]
    if not body:
        return ""
    return "\n".join([f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}", *body])


def page(title: str, origin: str, *parts: str) -> str:
    """A whole page; ``origin`` says what to change in its place."""
    note = f"<!-- made by tools/make_docs.py from {origin}; do not edit -->"
    return "\n\n".join([f"# {title}", note, *(part.strip("\n") for part in parts if part.strip())]) + "\n"


def halves(text: str) -> tuple[str, str]:
    """Chinese and English of a text written ``中文 | English`` or ``中文 — English``."""
    for separator in (" | ", " — "):
        if separator in text:
            first, second = text.split(separator, 1)
            return first.strip(), second.strip()
    return text.strip(), text.strip()


# --- indicators ---------------------------------------------------------------------------------------------------


def _variant_section(row: dict[str, str], scopes: dict[str, list[str]], disclosure: dict[str, dict[str, str]]) -> str:
    zh, en = halves(row["formula_text"])
    policy = disclosure[row["disclosure_class"]]
    facts: list[tuple[str, str]] = [
        ("定义 definition", zh),
        ("", en),
        ("依据 authority", row["definition_source"]),
        ("单位 unit", f"{row['unit']}，{row['decimals']} 位小数 decimals"),
        ("人口口径 population basis", BASIS[row["population_basis"]]),
        ("分组 subgroups", row["subgroups"].replace(";", ", ")),
        ("地区 areas", ", ".join(scopes[row["roll_up"]])),
        ("责任层级 responsible", row["responsible_level"]),
        ("保护 protection", f"{policy['name_zh']} — {policy['name_en']} ({row['disclosure_class']})"),
        ("数据源 sources", ", ".join(f"[{feed}](../feeds/{feed}.md)" for feed in row["source_feeds"].split(";"))),
        ("方法版本 method version", row["method_version"]),
    ]
    if row["missing_feeds"]:
        facts.append(("不可测，缺少 not measurable without", row["missing_feeds"].replace(";", ", ")))
    if row["minuend_indicator_code"]:
        over = f"{row['minuend_indicator_code']} {row['minuend_variant']}"
        under = f"{row['subtrahend_indicator_code']} {row['subtrahend_variant']} ({row['subtrahend_scope']})"
        facts.append(("差值 difference", f"{over} − {under}"))
    headline = "（主指标 headline）" if row["is_headline"] == "true" else ""
    basis = "" if row["basis"] == "none" else f", {row['basis']}"
    title = f"### `{row['variant']}`{basis}{headline}"
    return f"{title}\n\n{row['name_zh']} — {row['name_en']}\n\n{table(('项目 item', '内容 content'), facts)}"


def indicator_pages() -> dict[str, str]:
    """Path below docs/ → text, one page per indicator and an index."""
    registry = read_csv(SEEDS / "indicators.csv")
    targets = read_csv(SEEDS / "targets.csv")
    assumptions = {row["assumption_id"]: row for row in read_csv(SEEDS / "assumptions.csv")}
    disclosure = {row["disclosure_class"]: row for row in read_csv(SEEDS / "disclosure_policy.csv")}
    years = [row["evaluation_year"] for row in read_csv(SEEDS / "evaluation_years.csv")]
    scopes: dict[str, list[str]] = {}
    for row in read_csv(SEEDS / "roll_up_rules.csv"):
        scopes.setdefault(row["roll_up"], []).append(row["group_code"] or row["area_level"])
    origin = "dbt_project/seeds (indicators, targets, assumptions, disclosure_policy, roll_up_rules, evaluation_years)"
    pages: dict[str, str] = {}
    index: list[tuple[str, str, str, str]] = []
    for code, group in groupby(registry, key=lambda row: row["indicator_code"]):
        rows = list(group)
        head = next((row for row in rows if row["is_headline"] == "true"), rows[0])
        wanted = [row for row in targets if row["indicator_code"] == code]
        said = list(dict.fromkeys([row["plan_quote"] for row in rows] + [row["quote"] for row in wanted]))
        goals = table(
            ("范围 scope", "目标 target", "年份 year", "年份依据 year basis", "假定 assumption", "频次 cadence"),
            [
                (
                    row["scope_group_code"] or row["scope"],
                    f"{OPERATORS[row['operator']]} {row['target_value']} {row['unit']}",
                    row["target_year"],
                    YEAR_BASIS[row["year_basis"]],
                    row["assumption_id"] or "—",
                    row["cadence"],
                )
                for row in wanted
            ],
        )
        used = [assumptions[key] for key in dict.fromkeys(row["assumption_id"] for row in wanted) if key]
        notes = [
            f"* {row['assumption_id']}: {row['subject_zh']} → {row['assumed_value']} ({row['confidence']}): "
            f"{row['reason_zh']} — {row['reason_en']}"
            for row in used
        ]
        pages[f"indicators/{code}.md"] = page(
            f"{code} {head['name_zh']}",
            origin,
            head["name_en"],
            "\n".join(f"> {quote}" for quote in said if quote),
            f"评价年度 evaluation years: {years[0]}–{years[-1]}，每年一次 yearly. "
            "时点 snapshot dates: [../glossary.md](../glossary.md).",
            "## 目标 targets\n\n" + (goals or "无目标值，只报告，不判定。No target: reported, never judged."),
            "\n".join(notes),
            "## 口径 variants",
            *(_variant_section(row, scopes, disclosure) for row in rows),
        )
        index.append((f"[{code}]({code}.md)", head["name_zh"], head["name_en"], str(len(rows))))
    pages["indicators/README.md"] = page(
        "指标 indicators", origin, table(("代码 code", "名称 name", "English", "口径 variants"), index)
    )
    return pages


# --- feeds --------------------------------------------------------------------------------------------------------


def _properties(holder: dict[str, Any]) -> dict[str, Any]:
    return {entry["property"]: entry["value"] for entry in holder.get("customProperties", [])}


def _classification(text: str) -> str:
    kind, _, token = text.partition(":")
    return {
        "internal": "内部 internal",
        "vault": "只入保险库 vault only",
        "token": f"令牌化 token → `{token}`",
    }.get(kind, text)


def _rule_text(column: dict[str, Any], extra: dict[str, Any]) -> str:
    options = column.get("logicalTypeOptions", {})
    said = [f"代码表 code list `{extra['codeList']}`"] if "codeList" in extra else []
    if "pattern" in options:
        said.append(f"`{options['pattern']}`")
    bounds = [f"{sign} {options[key]}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in options]
    return "; ".join([*said, *bounds])


def _column_row(column: dict[str, Any]) -> tuple[object, ...]:
    extra = _properties(column)
    zh, en = halves(column.get("description", ""))
    key = "键 key" if column.get("primaryKey") else ("必填 required" if column.get("required") else "")
    unit = f"（{extra['unit']}）" if "unit" in extra else ""
    return (
        f"`{column['name']}`",
        "、".join([column["businessName"], *map(str, extra.get("headers", []))]),
        TYPES.get(column["logicalType"], column["logicalType"]) + unit,
        key,
        _rule_text(column, extra),
        _classification(column.get("classification", "")),
        f"{zh} — {en}",
    )


def feed_pages() -> dict[str, str]:
    """Path below docs/ → text, one page per contract and an index."""
    pages: dict[str, str] = {}
    index: list[tuple[str, str, str, str]] = []
    for path in sorted(CONTRACTS.glob("*.odcs.yaml")):
        contract = yaml.safe_load(path.read_text(encoding="utf-8"))
        extra = _properties(contract)
        content = contract["schema"][0]
        purpose = halves(contract["description"]["purpose"])
        file_name = extra["fileName"]
        facts = [
            ("版本 version", contract["version"]),
            ("负责单位 owner", " — ".join(halves(contract["team"]["description"]))),
            ("粒度 grain", content.get("dataGranularityDescription", "")),
            ("文件夹 folder", f"`{extra['folder']}/`"),
            ("文件名 file name", f"`{file_name['example']}`"),
            ("格式 formats", ", ".join(extra["formats"])),
            ("编码 encodings", ", ".join(extra["encodings"])),
            ("交付方式 delivery", extra["delivery"]),
            ("范围 scope", ", ".join(f"`{name}`" for name in extra["scope"]) or "整表 whole table"),
            ("落地表 table", f"`{content['physicalName']}`"),
        ]
        facts += [
            (
                "应到 expected",
                f"{entry['by']}: {entry['firstPeriod']}–{entry['lastPeriod']}, {entry['files']} 个文件 files",
            )
            for entry in extra.get("expected", ())
        ] or [("应到 expected", "可缺，缺则相应指标无法计算 may be absent: what rests on it is then not measurable")]
        rules = [
            (f"`{rule['implementation']['rule']}`", rule["severity"], " — ".join(halves(rule["description"])))
            for holder in (content, *content["properties"])
            for rule in holder.get("quality", [])
            if "implementation" in rule
        ]
        limits = [(f"`{row['rule']}`", f"{row['share']:.0%}", row["minimum"]) for row in extra["thresholds"]]
        pages[f"feeds/{contract['id']}.md"] = page(
            f"{content['businessName']} `{contract['id']}`",
            f"ingest/contracts/{path.name}",
            " — ".join(purpose),
            table(("项目 item", "内容 content"), facts),
            "## 列 columns",
            "第一个表头是标准表头，其余为可接受的别名。The first header is the canonical one, the others are accepted.",
            table(
                ("列 column", "表头 headers", "类型 type", "", "规则 rule", "保护 class", "说明 meaning"),
                map(_column_row, content["properties"]),
            ),
            "## 跨列规则 rules over columns" if rules else "",
            table(("规则 rule", "级别 severity", "说明 meaning"), rules),
            "## 整文件拒收 when the whole file is rejected" if limits else "",
            table(("规则 rule", "占比超过 share above", "且行数不少于 and rows at least"), limits),
        )
        index.append(
            (f"[{contract['id']}]({contract['id']}.md)", content["businessName"], *purpose[1:], extra["folder"])
        )
    pages["feeds/README.md"] = page(
        "数据源 feeds", "ingest/contracts", table(("合同 contract", "名称 name", "English", "文件夹 folder"), index)
    )
    return pages


# --- marts --------------------------------------------------------------------------------------------------------


def mart_pages() -> dict[str, str]:
    """Path below docs/ → text, one page per published mart and an index."""
    models: list[tuple[str, dict[str, Any]]] = []
    for path in sorted(MARTS.glob("*.yml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        models += [(path.name, model) for model in content.get("models", [])]
    pages: dict[str, str] = {}
    index: list[tuple[str, str, str]] = []
    for name, model in models:
        zh, en = halves(model.get("description", ""))
        constraints = model.get("constraints", [])
        key: list[str] = next((entry["columns"] for entry in constraints if entry["type"] == "primary_key"), [])
        checks = [f"* `{entry['expression']}`" for entry in constraints if entry["type"] == "check"]
        pages[f"marts/{model['name']}.md"] = page(
            f"{zh} `marts.{model['name']}`",
            f"dbt_project/models/marts/{name}",
            en,
            "发布时在最前面加一列 `release_id`；`marts.*` 随当前版本变化，`release_<id>.*` 固定不变。"
            "Publication puts `release_id` before these columns; `marts.*` follow the published release, "
            "`release_<id>.*` never change.",
            f"键 key: {', '.join(f'`{column}`' for column in key)}" if key else "",
            table(
                ("列 column", "类型 type", "中文", "English"),
                [
                    (f"`{column['name']}`", column.get("data_type", ""), *halves(column.get("description", "")))
                    for column in model.get("columns", [])
                ],
            ),
            "## 约束 constraints" if checks else "",
            "\n".join(checks),
        )
        index.append((f"[{model['name']}]({model['name']}.md)", zh, en))
    pages["marts/README.md"] = page(
        "发布表 marts",
        "dbt_project/models/marts",
        table(("表 mart", "中文", "English"), index),
        "另有四张由 warehouse/migrations 建立的视图：`marts.release_notes`（发布说明）、`marts.release_change`"
        "（变动单元）、`marts.release_registry`（版本登记）、`marts.source_file`（来源文件）。Four more views come "
        "from warehouse/migrations: notes, the cells that moved, the registry of releases, the source files.",
    )
    return pages


# --- rules of the gates --------------------------------------------------------------------------------------------


def rule_pages() -> dict[str, str]:
    """docs/quality_rules.md: every rule of both gates, with the words that its page shows when it fails."""
    sys.path.insert(0, str(ROOT))
    from expectations.gate import facts
    from expectations.suite import load_suites

    parts = []
    boundaries = (("arrival", "入库门禁 arrival gate"), ("candidate", "发布门禁 candidate gate"))
    for boundary, heading in boundaries:
        _, suites = load_suites(boundary, facts(2020, "candidate"))  # type: ignore[arg-type]
        parts.append(f"## {heading}")
        for suite in suites:
            parts.append(f"### {suite.title.zh} {suite.title.en}")
            parts.append(
                table(
                    ("规则 rule", "", "应当如此 what should be true", "为什么 why", "怎么办 what to do"),
                    [
                        (
                            f"`{rule.id}`",
                            ("阻断 block" if rule.severity == "block" else "提醒 warn")
                            + ("" if rule.waivable else "<br>不得豁免 never waived"),
                            f"{rule.what.zh}<br>{rule.what.en}",
                            f"{rule.why.zh}<br>{rule.why.en}",
                            f"{rule.how_to_fix.zh}<br>{rule.how_to_fix.en}",
                        )
                        for rule in suite.expectations
                    ],
                )
            )
    return {
        "quality_rules.md": page(
            "质量规则 rules of the gates",
            "expectations/suites",
            "每条规则都有一个专门埋下的错误，测试证明它只被这条规则（及注明的同类规则）查出。怎样读门禁页见 "
            "[quality.md](quality.md)。\n\nEvery rule has a defect of its own; a test shows that it finds it, and "
            "nothing else does but what watches the same thing. [quality.md](quality.md) tells how to read a page.",
            *parts,
        )
    }


# --- roles --------------------------------------------------------------------------------------------------------


def role_pages() -> dict[str, str]:
    """docs/roles.md from the matrix that a test tries cell by cell."""
    matrix = yaml.safe_load((ROOT / "warehouse" / "roles.yaml").read_text(encoding="utf-8"))
    roles: dict[str, dict[str, Any]] = matrix["roles"]

    def names(listed: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in listed)

    def shown(role: str, thing: str) -> str:
        said = matrix["grants"][role].get(thing, [])
        if isinstance(said, dict):
            return "; ".join(f"{name.split('.')[-1]}: {', '.join(verbs)}" for name, verbs in said.items())
        return ", ".join(said) or "·"

    people = [role for role, about in roles.items() if about.get("login", True) or about.get("group")]
    owners = [role for role in roles if role not in people]

    def grid(columns: Sequence[str]) -> str:
        rows = [
            (f"**{thing}**<br>{halves(about['holds'])[0]}", *(shown(role, thing) for role in columns))
            for thing, about in matrix["objects"].items()
            if any(shown(role, thing) != "·" for role in columns) or columns == people
        ]
        return table(("对象 object", *(f"`{role}`" for role in columns)), rows)

    return {
        "roles.md": page(
            "角色与权限 roles",
            "warehouse/roles.yaml",
            "数据库角色名为 `edupa_<角色>`；PUBLIC 没有任何权限。`tests/warehouse/test_roles.py` 逐格验证下表，"
            "包括写作“·”（无权）的格子。\n\n"
            "Database roles are `edupa_<role>`; PUBLIC has nothing. A test tries every cell, also those marked ·.",
            table(
                ("角色 role", "做什么 does", "English"),
                [(f"`{role}`", about["does_zh"], about["does_en"]) for role, about in roles.items()],
            ),
            "## 矩阵 matrix",
            grid(people),
            "## 属主 owners\n\n不能登录的角色，只拥有对象或只在函数、视图内使用。"
            "Roles that cannot log in: they own things, or act inside a function or view.",
            grid(owners),
            "## 其他 what else",
            table(
                ("", ""),
                [
                    ("可建模式 may create schemas", names(matrix["create_schema"])),
                    ("可建临时表 may create temporary tables", names(matrix["temporary"])),
                    *(
                        (f"`{role}` 可代行 may act as, or holds", names(others))
                        for role, others in matrix["memberships"].items()
                    ),
                    *(
                        (f"可调用 may call `{function}`", names(holders))
                        for function, holders in matrix["functions"].items()
                    ),
                ],
            ),
            "其余函数只有属主可用。`edupa_admin` 仅用于迁移 — all other functions belong to their owners; "
            "`edupa_admin` is for migrations only.",
        )
    }


def all_pages() -> dict[str, str]:
    """Every generated page, path below docs/ → text."""
    return indicator_pages() | feed_pages() | mart_pages() | rule_pages() | role_pages()


def differences(docs: Path) -> list[str]:
    """What is stale, missing or left over below ``docs``."""
    wanted = all_pages()
    found = [
        f"{name} is {'stale' if (docs / name).exists() else 'missing'}"
        for name, text in wanted.items()
        if not (docs / name).exists() or (docs / name).read_text(encoding="utf-8") != text
    ]
    present = {path.relative_to(docs).as_posix() for folder in FOLDERS for path in (docs / folder).glob("*.md")}
    return found + [f"{name} has no source any more" for name in sorted(present - set(wanted))]


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or check them."""
    docs = ROOT / "docs"
    if arguments == ["--check"]:
        found = differences(docs)
        for line in found:
            print(f"docs/{line}: run tools/make_docs.py", file=sys.stderr)
        return 1 if found else 0
    wanted = all_pages()
    for folder in FOLDERS:
        (docs / folder).mkdir(parents=True, exist_ok=True)
        for path in (docs / folder).glob("*.md"):
            if path.relative_to(docs).as_posix() not in wanted:
                path.unlink()
    for name, text in wanted.items():
        (docs / name).write_text(text, encoding="utf-8")
    print(f"{len(wanted)} pages written below {docs}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
