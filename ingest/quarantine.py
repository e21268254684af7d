"""The quarantine as people work with it: what is open, what became of the rest, and what may pass if read again.

Entries are never deleted. A later load of the same delivery settles them in its own transaction, so that the trail
and the data cannot disagree. Only masked values are stored; whoever needs the row itself needs the county's file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql

from ingest.contract import Contract
from ingest.names import parse_name
from ingest.problems import FileRejectedError
from ingest.reports import LoadReport
from ingest.sources import FileGrowingError, Intake, SourceError, file_sha256, opened
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Connection = psycopg.Connection[tuple[object, ...]]
State = Literal["open", "cleared", "all"]

#: rules whose verdict depends on what other feeds have landed
_REFERENCE_RULES = "reference."
_STATES = {"open": "e.is_open", "cleared": "not e.is_open", "all": "true"}


class QuarantineError(RuntimeError):
    """What was asked cannot be done; the message says why and what to do."""


def delivery(file_name: str, contract: Contract) -> tuple[str, ...] | None:
    """What a file's name says of its scope: files of one delivery replace each other.

    Returns:
        The file facts behind the scope columns, in their order (empty text where the name does not say);
        None where the name does not fit the contract.
    """
    try:
        facts = parse_name(file_name, contract, today=date.max).facts
    except FileRejectedError:
        return None
    found = (contract.by_name[name].file_fact for name in contract.scope)
    return tuple(str(facts.get(fact.fact, "")) if fact else "" for fact in found)


class Trail:
    """Settles the open entries of a feed as newer loads of their deliveries commit."""

    def __init__(self, conn: Connection, contract: Contract) -> None:
        """Read which loads of the feed have open entries."""
        self._conn = conn
        self._contract = contract
        self._open: dict[tuple[str, ...], list[int]] = {}
        rows = conn.execute(
            "select l.load_id, l.file_name from ledger.load l where l.feed = %s and l.rows_quarantined > 0 and exists"
            " (select 1 from quarantine.entry e where e.load_id = l.load_id and e.is_open) order by l.load_id",
            (contract.feed,),
        ).fetchall()
        for load_id, name in rows:
            if (key := delivery(str(name), contract)) is not None:
                self._open.setdefault(key, []).append(int(str(load_id)))

    def settle(self, load_id: int, file_name: str, sha256: str, *, has_quarantined: bool) -> int:
        """Write down what became of the delivery's open entries; call within the load's transaction, before commit.

        Args:
            load_id: the load that is about to commit; its own entries are written already.
            file_name: name of its file.
            sha256: content of its file.
            has_quarantined: whether it has entries of its own.

        Returns:
            Number of entries settled.
        """
        key = delivery(file_name, self._contract)
        if key is None:
            return 0
        earlier = self._open.pop(key, [])
        if has_quarantined:
            self._open[key] = [load_id]
        if not earlier:
            return 0
        done = self._conn.execute(
            sql.SQL(
                "insert into quarantine.cleared_row (rejected_row_id, cleared_by_load_id, outcome)"
                " select e.rejected_row_id, %(load)s, case when exists (select 1 from quarantine.rejected_row n where"
                " n.load_id = %(load)s and n.row_sha256 = e.row_sha256 and n.rule = e.rule"
                " and n.column_name = e.column_name) then 'rejected_again'"
                " when f.file_sha256 = %(sha)s then 'passed' when e.record_key is null then 'replaced'"
                " when exists (select 1 from quarantine.rejected_row n where n.load_id = %(load)s"
                " and n.record_key = e.record_key and n.scope_key = e.scope_key) then 'rejected_again'"
                " when exists (select 1 from {} r where r.record_key = e.record_key and r.scope_key = e.scope_key"
                " and r.ended_load_id is null) then 'corrected' else 'withdrawn' end"
                " from quarantine.entry e join ledger.load l using (load_id) join ledger.file f using (file_id)"
                " where e.load_id = any(%(earlier)s) and e.is_open"
            ).format(sql.Identifier("landing", self._contract.feed)),
            {"load": load_id, "sha": sha256, "earlier": earlier},
        )
        return done.rowcount


@dataclass(frozen=True)
class Group:
    """Entries of one file that break one rule in one column.

    Attributes:
        county: code of the file's county; None for a file of the whole province.
        rows: distinct rows of the file.
        first_id: the first of the entries, to look at.
    """

    feed: str
    county: str | None
    county_name: str | None
    period: int | None
    file_name: str
    load_id: int
    rule: str
    column: str
    header: str
    rows: int
    open_rows: int
    first_id: int


@dataclass(frozen=True)
class Entry:
    """One entry with its trail; the value is masked. ``others``: ids of further entries of the same row."""

    entry_id: int
    feed: str
    file_name: str
    file_sha256: str
    sheet: str | None
    line: int
    column: str
    header: str
    rule: str
    masked_value: str
    message_en: str
    message_zh: str
    load_id: int
    contract_version: str
    quarantined_at: str
    outcome: str | None
    cleared_by_load_id: int | None
    cleared_by_file: str | None
    cleared_at: str | None
    others: tuple[int, ...]


def _facts(file_name: str, contract: Contract | None) -> dict[str, Any]:
    if contract is None:
        return {}
    try:
        return parse_name(file_name, contract, today=date.max).facts
    except FileRejectedError:
        return {}


def county_code(text: str, contracts: dict[str, Contract]) -> str:
    """Code of a county given by code, name or alias.

    Raises:
        QuarantineError: no contract's county list knows it.
    """
    for contract in contracts.values():
        if contract.county_list and (code := contract.county_list.find(text)):
            return code
    raise QuarantineError(f"no county {text!r}: give its 6-digit code or its name as in the code list of counties")


def list_groups(
    conn: Connection,
    contracts: dict[str, Contract],
    *,
    feed: str | None = None,
    county: str | None = None,
    period: int | None = None,
    rule: str | None = None,
    state: State = "open",
) -> list[Group]:
    """Entries by file, rule and column, most rows first.

    Args:
        conn: as ingest or auditor.
        contracts: to read county and period from the files' names.
        feed: only this feed.
        county: only this county, by code or name.
        period: only files of this period.
        rule: only this rule, or all rules that start with it (``id`` or ``id.``: all rules of ID numbers).
        state: open entries, cleared ones, or all.

    Raises:
        QuarantineError: unknown feed or county.
    """
    if feed is not None and feed not in contracts:
        raise QuarantineError(f"no feed {feed!r}: one of {', '.join(sorted(contracts))}")
    wanted = county_code(county, contracts) if county else None
    rows = conn.execute(
        "select e.feed, e.file_name, e.load_id, e.rule, e.column_name, coalesce(max(e.column_header), ''),"
        # a row breaks a rule in a column once, so entries are rows here
        " count(*), count(*) filter (where e.is_open), min(e.rejected_row_id)"
        " from quarantine.entry e"
        f" where {_STATES[state]} and (%(feed)s::text is null or e.feed = %(feed)s)"
        " and (%(rule)s::text is null or e.rule = %(rule)s or starts_with(e.rule, rtrim(%(rule)s, '.') || '.'))"
        " group by e.feed, e.file_name, e.load_id, e.rule, e.column_name"
        " order by count(*) desc, e.feed, e.file_name, e.load_id, e.rule, e.column_name".encode(),
        {"feed": feed, "rule": rule},
    ).fetchall()
    groups = []
    for name_of_feed, name, load_id, rule_id, column, header, count, still_open, first in rows:
        contract = contracts.get(str(name_of_feed))
        facts = _facts(str(name), contract)
        code, year = facts.get("county_code"), facts.get("period")
        if (wanted and code != wanted) or (period is not None and year != period):
            continue
        entry = contract.county_list.entries.get(str(code)) if contract and contract.county_list else None
        groups.append(
            Group(
                str(name_of_feed),
                str(code) if code else None,
                entry["label"] if entry else None,
                int(year) if year else None,
                str(name),
                int(str(load_id)),
                str(rule_id),
                str(column),
                str(header),
                int(str(count)),
                int(str(still_open)),
                int(str(first)),
            )
        )
    return groups


def count_rows(conn: Connection, groups: Iterable[Group], *, only_open: bool = True) -> int:
    """Distinct rows behind groups: a row that breaks two rules counts once."""
    loads = sorted({group.load_id for group in groups})
    rules = sorted({(group.load_id, group.rule, group.column) for group in groups})
    row = conn.execute(
        "select count(*) from (select distinct e.load_id, e.sheet, e.line_number from quarantine.entry e"
        " join unnest(%s::bigint[], %s::text[], %s::text[]) as g (load_id, rule, column_name)"
        " using (load_id, rule, column_name) where e.load_id = any(%s) and (e.is_open or not %s)) as rows",
        ([item[0] for item in rules], [item[1] for item in rules], [item[2] for item in rules], loads, only_open),
    ).fetchone()
    return int(str(row[0])) if row else 0


def get_entry(conn: Connection, entry_id: int) -> Entry:
    """One entry.

    Raises:
        QuarantineError: there is none with this id.
    """
    row = conn.execute(
        "select e.feed, e.file_name, f.file_sha256, e.sheet, e.line_number, e.column_name,"
        " coalesce(e.column_header, ''), e.rule, coalesce(e.masked_value, ''), e.message_en, e.message_zh, e.load_id,"
        " coalesce(l.contract_version, ''), to_char(e.quarantined_at, 'YYYY-MM-DD HH24:MI:SS'), e.outcome,"
        " e.cleared_by_load_id, c.file_name, to_char(e.cleared_at, 'YYYY-MM-DD HH24:MI:SS')"
        " from quarantine.entry e left join ledger.load l using (load_id) left join ledger.file f using (file_id)"
        " left join ledger.load c on c.load_id = e.cleared_by_load_id where e.rejected_row_id = %s",
        (entry_id,),
    ).fetchone()
    if row is None:
        raise QuarantineError(f"no quarantine entry {entry_id}: `edupa quarantine list` shows the ids")
    others = conn.execute(
        "select o.rejected_row_id from quarantine.rejected_row o join quarantine.rejected_row e"
        " on e.load_id = o.load_id and e.line_number = o.line_number and e.sheet is not distinct from o.sheet"
        " where e.rejected_row_id = %s and o.rejected_row_id <> %s order by 1",
        (entry_id, entry_id),
    ).fetchall()
    values: list[Any] = [entry_id, *row, tuple(int(str(item[0])) for item in others)]
    return Entry(**dict(zip((item.name for item in fields(Entry)), values, strict=True)))


@dataclass(frozen=True)
class OpenFile:
    """A file with open entries, as it was when it was loaded."""

    feed: str
    file_name: str
    file_sha256: str
    load_id: int
    contract_sha256: str
    rules: frozenset[str]


def open_files(conn: Connection, load_ids: Iterable[int]) -> list[OpenFile]:
    """The files of some loads with their open rules, in load order."""
    rows = conn.execute(
        "select l.feed, l.file_name, f.file_sha256, l.load_id, coalesce(l.contract_sha256, ''),"
        " array_agg(distinct e.rule) from quarantine.entry e join ledger.load l using (load_id)"
        " join ledger.file f using (file_id) where e.is_open and l.load_id = any(%s)"
        " group by l.feed, l.file_name, f.file_sha256, l.load_id, l.contract_sha256 order by l.load_id",
        (sorted(set(load_ids)),),
    ).fetchall()
    result = []
    for feed, name, sha, load_id, contract_sha, rules in rows:
        listed: Any = rules
        result.append(OpenFile(str(feed), str(name), str(sha), int(str(load_id)), str(contract_sha), frozenset(listed)))
    return result


@contextmanager
def as_loaded(root: Path | Intake, file: OpenFile) -> Iterator[Path]:
    """A path to a file that is still what was loaded: entries name lines of that content and of no other.

    Args:
        root: folder below which the file lies, or an intake that knows the feed's source.
        file: what the ledger knows.

    Raises:
        QuarantineError: it is gone or has changed.
    """
    with ExitStack() as stack:
        try:
            path = stack.enter_context(opened(root, file.file_name, file.feed))
        except (FileRejectedError, SourceError):
            place = root.root if isinstance(root, Intake) else root
            raise QuarantineError(
                f"{file.file_name} is no longer in {place}: put the file of load {file.load_id} back,"
                " or name the folder where it lies with --root"
            ) from None
        except FileGrowingError:
            raise QuarantineError(f"{file.file_name} is still growing: wait until it is whole") from None
        if file_sha256(path) != file.file_sha256:
            raise QuarantineError(
                f"{file.file_name} has changed since load {file.load_id}, whose lines the entries name:"
                " load the new content with `edupa load`, or put the old file back"
            )
        yield path


@dataclass(frozen=True)
class Replay:
    """What a replay does with one file.

    Attributes:
        why: why its rows may pass now; empty: nothing has changed, they would be rejected again.
        refusal: why the file cannot be read again, or None.
        report: what the load did; None in a dry run, without a reason, or where it was refused.
    """

    file: OpenFile
    why: str
    refusal: str | None = None
    report: LoadReport | None = None


def waiting_for_reference(conn: Connection, contracts: dict[str, Contract]) -> list[int]:
    """Loads with open entries that wait for what another feed lists, where that feed has landed something since."""
    rows = conn.execute(
        "select distinct load_id from quarantine.entry where is_open and starts_with(rule, %s) order by 1",
        (_REFERENCE_RULES,),
    ).fetchall()
    files = open_files(conn, [int(str(load_id)) for (load_id,) in rows])
    return [
        file.load_id for file in files if file.feed in contracts and _landed_since(conn, file, contracts[file.feed])
    ]


def _landed_since(conn: Connection, file: OpenFile, contract: Contract) -> str:
    """Feed that a file's rows wait for and that has landed something since; empty: none has."""
    if not contract.depends_on or not any(rule.startswith(_REFERENCE_RULES) for rule in file.rules):
        return ""
    row = conn.execute(
        "select feed from ledger.load where feed = any(%s) and status = 'landed' and load_id > %s limit 1",
        (sorted(contract.depends_on), file.load_id),
    ).fetchone()
    return str(row[0]) if row else ""


def _why(conn: Connection, file: OpenFile, contract: Contract) -> str:
    """What has changed since a file was loaded that may let its rows pass."""
    if file.contract_sha256 != contract.sha256:
        return "the contract or one of its code lists has changed"
    feed = _landed_since(conn, file, contract)
    return f"{feed} has been loaded since" if feed else ""


def replay(
    root: Path | Intake,
    contracts: dict[str, Contract],
    config: WarehouseConfig,
    load_ids: Iterable[int],
    *,
    dry_run: bool = False,
    even_if_nothing_changed: bool = False,
) -> list[Replay]:
    """Read files again whose quarantined rows may now pass; what passes lands, the rest gets new entries.

    A file's rows may pass if its contract or a code list changed, or if a feed that it refers to landed something.

    Args:
        root: folder with the files, or an intake.
        contracts: all contracts, as they are now.
        config: the warehouse.
        load_ids: loads whose open entries are meant.
        dry_run: say what would be read, and read nothing.
        even_if_nothing_changed: read the others too.

    Returns:
        One outcome per file, in load order.

    Raises:
        TokenKeyError: the token key is missing or wrong.
        LockBusyError: another load did not end in time.
    """
    from ingest.load import load_feed

    with connect("ingest", config) as conn:
        planned = [
            Replay(file, _why(conn, file, contracts[file.feed]))
            for file in open_files(conn, load_ids)
            if file.feed in contracts
        ]
    done = []
    for plan in planned:
        file = plan.file
        if not plan.why and not even_if_nothing_changed:
            done.append(plan)
            continue
        try:
            with as_loaded(root, file):
                pass
        except QuarantineError as error:
            done.append(Replay(file, plan.why, str(error)))
            continue
        report = None
        if not dry_run:
            loaded = load_feed(file.feed, root, contracts, config, names=(file.file_name,), again=True)
            report = next(iter(loaded.files), None)
        done.append(Replay(file, plan.why, None, report))
    return done
