"""``edupa contract``: draft a contract from a file, compare a file with one, and try a file without loading it."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edupa.cli_common import fail, out, plainly

if TYPE_CHECKING:
    from ingest import Contract
    from ingest.codelists import CodeList
    from ingest.drift import DriftReport

contract_app = typer.Typer(no_args_is_help=True, help="Data contracts: draft one from a file, compare, dry-run a file.")

File = Annotated[Path, typer.Argument(help="A file as it is delivered; its name decides the feed.")]


def _known() -> tuple[dict[str, Contract], dict[str, CodeList]]:
    from ingest import load_contracts
    from ingest.contract import known_code_lists

    lists = known_code_lists()
    return load_contracts(code_lists=lists, drafts=True), lists


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise fail(f"there is no file {path}")


def _contract_of(path: Path, contracts: dict[str, Contract]) -> Contract:
    from ingest import feed_of

    feed = feed_of(path.name, contracts)
    if feed is None:
        raise fail(f"no contract recognizes the name {path.name}: `edupa contract new {path}` drafts one")
    return contracts[feed]


@contract_app.command("new")
@plainly
def contract_new(
    path: File,
    feed: Annotated[str | None, typer.Option(help="Id of the feed, e.g. teacher_training; none: translated.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder; none: the last one of EDUPA_CONTRACTS.")] = None,
) -> None:
    """Draft a contract from a file: types, key, code lists, and which columns seem to be about persons.

    Example: `edupa contract new 教师培训_640422_西吉县_2019_20191015.csv --feed teacher_training`
    """
    from ingest.authoring import draft_contract, write_draft
    from ingest.contract import contract_folders
    from ingest.problems import FileRejectedError

    _must_exist(path)
    contracts, lists = _known()
    try:
        draft = draft_contract(path, contracts, lists, feed=feed)
    except FileRejectedError as error:
        raise fail(str(error.rejection(path.name))) from None
    folders = contract_folders()
    folder = to or folders[-1]
    written = write_draft(draft, folder)
    table = Table(box=None, pad_edge=False)
    for heading in ("column", "header", "kind", "classification", "key", "why"):
        table.add_column(heading, no_wrap=heading != "why")
    for column in draft.columns:
        place = str(draft.key.index(column.name) + 1) if column.name in draft.key else ""
        kind = str(column.properties["kind"])
        classification = str(column.block["classification"])
        shown = f"[yellow]{classification}[/]" if classification != "internal" else classification
        table.add_row(column.name, escape(column.header), kind, shown, place, escape(column.note))
    out.print(table)
    print(
        f"\n{draft.rows:,} rows read; key {', '.join(draft.key)}; scope {', '.join(draft.scope) or 'the whole table'}"
    )
    for file in written:
        print(f"written: {file}")
    if folder.resolve() not in [each.resolve() for each in folders]:
        path_text = ":".join(map(str, (*folders, folder.resolve())))
        out.print(f"not looked at yet: set EDUPA_CONTRACTS={path_text}", highlight=False, soft_wrap=True)
    print("To decide before it loads anything:")
    for note in (*draft.notes, "read every line marked edit, then set status: active"):
        out.print(f"  - {note}", highlight=False, markup=False, soft_wrap=True)
    print(f"Then: `edupa contract test {path}`")


def _print_drift(report: DriftReport, console: Console) -> None:
    if not report.drifts:
        console.print("columns: as in the contract, in its order", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("drift", "column", "what happens as things are", "proposal"):
        table.add_column(heading, no_wrap=heading == "drift")
    for item in report.drifts:
        name = item.header if item.column == item.header else f"{item.header} ({item.column})"
        table.add_row(item.kind, escape(name), escape(item.outcome), escape(item.proposal))
    console.print(table)


def _drift(path: Path, contract: Contract, contracts: dict[str, Contract], lists: dict[str, CodeList]) -> DriftReport:
    from ingest.drift import find_drift
    from ingest.problems import FileRejectedError

    try:
        return find_drift(path, contract, contracts, lists, path.suffix.lstrip("."))
    except FileRejectedError as error:
        raise fail(str(error.rejection(path.name))) from None


@contract_app.command("diff")
@plainly
def contract_diff(path: File) -> None:
    """Compare a file's columns with its contract and propose a change as a patch on standard output.

    Example: `edupa contract diff 学籍_640422_西吉县_2020_20201020.csv > contract.patch`
    """
    _must_exist(path)
    contracts, lists = _known()
    contract = _contract_of(path, contracts)
    report = _drift(path, contract, contracts, lists)
    errors = Console(stderr=True, width=out.width if sys.stdout.isatty() else 140)
    errors.print(f"{path.name} against {contract.path.name} {contract.version}", highlight=False, markup=False)
    _print_drift(report, errors)
    if report.patch:
        errors.print("\nproposed change (check it, then apply it with `git apply` or `patch -p1`):", highlight=False)
        print(report.patch, end="")
    else:
        errors.print("no change of the contract is proposed", highlight=False)


@contract_app.command("test")
@plainly
def contract_test(
    path: File,
    findings: Annotated[int, typer.Option(min=0, help="Rows to show for each broken rule.")] = 3,
) -> None:
    """Try a file against its contract and print what would happen; nothing is written. Exit code 1: rejected.

    Example: `edupa contract test extracts/E04_学籍/学籍_640422_西吉县_2019_20191020.csv`
    """
    from ingest import check_file

    _must_exist(path)
    contracts, lists = _known()
    contract = _contract_of(path, contracts)
    checked = check_file(path, contracts, max_findings=10_000)
    report = checked.report
    draft = ", a draft: it loads nothing yet" if contract.is_draft else ""
    print(f"{path.name}: feed {contract.feed}, contract {contract.version}{draft}")
    if report.rejection:
        rejection = report.rejection
        print(f"would be REJECTED: {rejection}")
        print(f"退回原因：{rejection.message_zh}；{rejection.what_to_do_zh}")
        if rejection.rule.startswith("header."):
            drift = _drift(path, contract, contracts, lists)
            _print_drift(drift, out)
            if drift.patch:
                print(f"`edupa contract diff {path}` proposes a change of the contract")
        raise typer.Exit(1)
    place = f"sheet {report.sheet}" if report.sheet else f"encoding {report.encoding}"
    _print_drift(_drift(path, contract, contracts, lists), out)
    print(
        f"{report.rows_in:,} rows, {place}: {report.rows_landed:,} good,"
        f" {report.rows_quarantined:,} would go to quarantine, {report.rows_exact_duplicate:,} repeat a row exactly;"
        f" {report.rows_skipped:,} title, total, blank or footer rows skipped"
    )
    if report.normalizations:
        most = sorted(report.normalizations.items(), key=lambda item: -item[1])[:8]
        listed = ", ".join(f"{name} {amount:,}" for name, amount in most)
        out.print(f"values written otherwise: {listed}", highlight=False, soft_wrap=True)
    for warning in report.warnings:
        out.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    by_rule = defaultdict(list)
    for found in checked.findings:
        by_rule[found.rule].append(found)
    for rule, amount in sorted(report.quarantined_by_rule.items(), key=lambda item: -item[1]):
        print(f"{rule}: {amount:,} rows")
        for found in by_rule[rule][:findings]:
            print(f"  line {found.line}: {found.message_en}")
    print("codes that other feeds must know (villages, schools) are checked only when the file is loaded")
