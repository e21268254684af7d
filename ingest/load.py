"""Load files of a feed: one transaction a file, in it the versions, the vault, the quarantine and the ledger."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
from psycopg import sql

from ingest.across import Learned, ReadAgain
from ingest.ahead import ahead
from ingest.arrival import Offer, Waiting, still_growing
from ingest.contract import Contract
from ingest.control_totals import write_control_totals
from ingest.csv_reader import read_csv
from ingest.duplicates import Hashes
from ingest.file_checks import last_figures
from ingest.identity import TokenKey, check_canary, read_token_key
from ingest.landing import Versions, copy_in, ensure_landing, reference_codes
from ingest.lines import LEAST_BYTES, LineStore, StartOver, allows, circumstances, text_to_hashes
from ingest.lookups import Lookup, read_lookups
from ingest.manifest import ManifestEntry, check_before, check_rows, controlled
from ingest.names import FileName, Rank, parse_name
from ingest.parquet_reader import read_parquet
from ingest.pipeline import CompiledContract, Counts, FileChecker, scope_key
from ingest.problems import FileRejectedError, Rejection
from ingest.quarantine import Trail
from ingest.reports import FeedReport, LoadReport
from ingest.sources import Discovery, FileGrowingError, Intake, file_sha256, opened
from ingest.tables import Table
from ingest.vault import Vault
from ingest.xlsx_reader import read_xls, read_xlsx
from warehouse import failpoint
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.locks import writer_lock

Connection = psycopg.Connection[tuple[object, ...]]
Progress = Callable[[LoadReport], None]

_READERS: dict[str, Callable[[Path, Contract], Table]] = {
    "csv": read_csv,
    "xlsx": read_xlsx,
    "xls": read_xls,
    "parquet": read_parquet,
}
#: from this size on rows go into an empty table first and are indexed then
LARGE_BYTES = 16 << 20
#: folder of the home in which lines of loads in force are kept
LINES_FOLDER = "lines"


def open_table(path: Path, contract: Contract, file_format: str) -> Table:
    """Open a file with the reader of its format.

    Raises:
        FileRejectedError: the contract does not list the format, or the reader refuses the file.
    """
    wanted = file_format.lower()
    if wanted not in contract.formats or wanted not in _READERS:
        raise FileRejectedError("file.name", f"format {wanted} is not in the contract", detail_zh="格式不在合同中")
    return _READERS[wanted](path, contract)


#: seconds to wait before a load is tried again after the connection was lost
_RETRY_PAUSES_S = (1.0, 3.0)


@dataclass(frozen=True)
class _PriorLoad:
    """A load of the feed that the ledger knows."""

    load_id: int
    sha256: str
    file_name: str
    status: str
    contract_sha256: str
    scopes: tuple[str, ...]
    rejection: dict[str, Any] | None
    rank: Rank | None


@dataclass
class _Ledger:
    """What the ledger knows of a feed, read once and kept up to date."""

    by_sha: dict[str, list[_PriorLoad]] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)
    accepted: dict[str, _PriorLoad] = field(default_factory=dict)

    def add(self, load: _PriorLoad) -> None:
        """Take in a load, in load order."""
        self.by_sha.setdefault(load.sha256, []).append(load)
        if load.status in ("landed", "unchanged"):
            for scope in load.scopes:
                self.accepted[scope] = load


@dataclass(frozen=True)
class _Arrived:
    """A file that is to be landed."""

    name: str
    sha: str
    size: int
    path: Path
    parsed: FileName
    announced: ManifestEntry | None


class FeedLoader:
    """Loads files of one feed over one connection; state that every file needs is read once."""

    def __init__(
        self, conn: Connection, contract: Contract, root: Path | Intake, key: TokenKey, lines: LineStore | None = None
    ) -> None:
        """Read what the ledger and the reference feeds know.

        Args:
            conn: as role ingest.
            contract: of the feed.
            root: where the files lie.
            key: makes the tokens.
            lines: where the lines of loads in force are kept; None: every file is read in full.

        Raises:
            TokenKeyError: not the key that made this warehouse's tokens.
        """
        self._conn = conn
        self._contract = contract
        self._root = root
        self._key = key
        self._compiled = CompiledContract(contract)
        if any(column.token for column in contract.columns):
            check_canary(conn, key)
        self._vault = Vault(conn, key)
        self._lines = lines if lines is not None and allows(contract) else None
        self._references = reference_codes(conn, contract)
        self._ledger = self._read_ledger()
        self._trail = Trail(conn, contract)
        conn.commit()

    def _read_ledger(self) -> _Ledger:
        ledger = _Ledger()
        rows = self._conn.execute(
            "select l.load_id, f.file_sha256, l.file_name, l.status, coalesce(l.contract_sha256, ''), l.scope_values,"
            " l.rejection from ledger.load l join ledger.file f using (file_id) where l.feed = %s order by l.load_id",
            (self._contract.feed,),
        ).fetchall()
        for load_id, sha, name, status, contract_sha, scopes, rejection in rows:
            values: Any = scopes
            reason: Any = rejection
            ledger.add(
                _PriorLoad(
                    int(str(load_id)),
                    str(sha),
                    str(name),
                    str(status),
                    str(contract_sha),
                    tuple(scope_key([item[column] for column in self._contract.scope]) for item in values),
                    reason,
                    self._rank(str(name)),
                )
            )
        for sha, name in self._conn.execute(
            "select f.file_sha256, s.file_name from ledger.seen s join ledger.file f using (file_id) where f.feed = %s",
            (self._contract.feed,),
        ).fetchall():
            ledger.seen.add((str(sha), str(name)))
        return ledger

    def _rank(self, name: str) -> Rank | None:
        try:
            return parse_name(name, self._contract).rank
        except FileRejectedError:
            return None

    def load(self, name: str, *, again: bool = False) -> LoadReport:
        """Load one file; a rejection is a result, not an error.

        Args:
            name: relative to the root, ``archive.zip!member`` for a file in an archive.
            again: read it even if its content is known.

        Returns:
            What became of it.
        """
        try:
            if not again and (known := self._known_afar(name)):
                return known
            with opened(self._root, name, self._contract.feed) as path:
                report = self._load_opened(name, path, again=again)
        except FileRejectedError as error:
            # the archive or the file could not even be opened: its name stands for its content
            return self.reject(error.rejection(name))
        if isinstance(self._root, Intake) and report.status != "rejected":
            self._root.remember(self._contract.feed, name, report.file_sha256)
        return report

    def _known_afar(self, name: str) -> LoadReport | None:
        """The report for a file elsewhere that is the version which was fetched before, and whose content is known."""
        sha = self._root.remembered(self._contract.feed, name) if isinstance(self._root, Intake) else None
        known = self._known(name, sha, parse_name(name, self._contract).rank) if sha else None
        return known if known and known.status == "same_content" else None

    def reject(self, rejection: Rejection) -> LoadReport:
        """Reject a file that was not opened: its name stands for its content."""
        return self._reject(rejection.file, "0" * 64, 0, rejection, None)

    def _announced(self, name: str) -> ManifestEntry | None:
        """What the sender's manifest says about a file, or None."""
        return self._root.manifest_entry(self._contract.feed, name) if isinstance(self._root, Intake) else None

    def _load_opened(self, name: str, path: Path, *, again: bool) -> LoadReport:
        sha = file_sha256(path)
        size = path.stat().st_size
        parsed: FileName | None = None
        announced = self._announced(name)
        try:
            parsed = parse_name(name, self._contract)
            known = None if again else self._known(name, sha, parsed.rank)
            # what was wrong between manifest and file may have been put right in the manifest
            is_announced_empty = announced is not None and announced.rows == 0
            # and an extract from the future is none any more when its day has come: the name was judged just now
            is_outdated = (
                known is not None
                and known.rejection is not None
                and (known.rejection.rule.startswith(("manifest.", "file.name")) or is_announced_empty)
            )
            if known and not is_outdated:
                return known
            if announced:
                check_before(announced, self._contract, sha)
            arrived = _Arrived(name, sha, size, path, parsed, announced)
            return self._land_in_turns(arrived, read_all=again)
        except FileRejectedError as error:
            self._conn.rollback()
            return self._reject(name, sha, size, error.rejection(name), parsed)
        except BaseException:
            self._conn.rollback()
            raise

    def _known(self, name: str, sha: str, rank: Rank) -> LoadReport | None:
        """The report for content that needs no loading, or None."""
        prior = self._ledger.by_sha.get(sha, [])
        rejected = [load for load in prior if load.status == "rejected"]
        accepted = [load for load in prior if load.status in ("landed", "unchanged")]
        if not accepted:
            same = [x for x in rejected if x.contract_sha256 == self._contract.sha256 and x.file_name == name]
            return self._repeat(same[-1], name, sha) if same else None
        last = accepted[-1]
        in_force = [self._ledger.accepted.get(scope) for scope in last.scopes]
        is_in_force = all(load is not None and load.sha256 == sha for load in in_force)
        if is_in_force and last.contract_sha256 != self._contract.sha256:
            return None
        is_newer = all(load is None or load.rank is None or rank > load.rank for load in in_force)
        if not is_in_force and is_newer:
            # a later extract that goes back to earlier content is a correction
            return None
        if (sha, name) not in self._ledger.seen:
            self._conn.execute(
                "insert into ledger.seen (file_id, file_name, outcome) select file_id, %s, 'same_content'"
                " from ledger.file where file_sha256 = %s and feed = %s on conflict do nothing",
                (name, sha, self._contract.feed),
            )
            self._conn.commit()
            self._ledger.seen.add((sha, name))
        warnings = () if last.file_name == name else (f"{name}: same content as {last.file_name}, nothing to do",)
        return LoadReport(
            self._contract.feed, name, "same_content", sha, last.load_id, warnings=warnings, is_repeated=True
        )

    def _repeat(self, load: _PriorLoad, name: str, sha: str) -> LoadReport:
        """A file that was rejected before and has not changed: say so again, without another ledger row."""
        rejection = Rejection(**load.rejection) if load.rejection else None
        return LoadReport(
            self._contract.feed, name, "rejected", sha, load.load_id, rejection=rejection, is_repeated=True
        )

    def _file_id(self, name: str, sha: str, size: int) -> int:
        self._conn.execute(
            "insert into ledger.file (file_sha256, feed, file_name, file_bytes) values (%s, %s, %s, %s)"
            " on conflict do nothing",
            (sha, self._contract.feed, name, size),
        )
        row = self._conn.execute(
            "select file_id from ledger.file where file_sha256 = %s and feed = %s", (sha, self._contract.feed)
        ).fetchone()
        assert row is not None
        return int(str(row[0]))

    def _in_force(self) -> dict[str, tuple[int, str]]:
        return {scope: (load.load_id, load.sha256) for scope, load in self._ledger.accepted.items()}

    def _circumstances(self, parsed: FileName, table: Table, lookups: Mapping[str, Lookup]) -> dict[str, Any]:
        key_id = self._key.key_id
        return circumstances(self._contract, parsed.facts, table.header.columns, key_id, self._references, lookups)

    def _last_accepted(self) -> tuple[str, tuple[str, ...]] | None:
        """File name of the last load of the feed that is in force, and its scopes; None: there is none."""
        loads = {load.load_id: load for load in self._ledger.accepted.values()}
        if not loads:
            return None
        last = loads[max(loads)]
        return last.file_name, last.scopes

    def _land_in_turns(self, arrived: _Arrived, *, read_all: bool) -> LoadReport:
        """Land a file, reading it once more where only its end tells what must become of its beginning."""
        learned: Learned | None = None
        while True:
            try:
                return self._land(arrived, read_all=read_all, learned=learned)
            except StartOver:
                read_all = True
            except ReadAgain as found:
                learned = found.learned
            self._conn.rollback()

    def _land(self, arrived: _Arrived, *, read_all: bool, learned: Learned | None) -> LoadReport:
        """Land a file.

        Args:
            arrived: the file.
            read_all: read lines too that the load in force holds.
            learned: what a first reading has found out, or None.

        Raises:
            FileRejectedError: the file breaks its contract.
            StartOver: the file must be read in full.
            ReadAgain: the file must be read again, with what was learned.
        """
        started = datetime.now(UTC)
        name, sha, path, parsed, announced = (
            arrived.name, arrived.sha, arrived.path, arrived.parsed, arrived.announced
        )  # fmt: skip
        contract = self._contract
        table = open_table(path, contract, str(parsed.facts.get("format", path.suffix.lstrip("."))))
        if announced:
            table = controlled(table, contract, announced)
        lookups = read_lookups(self._conn, contract, parsed.facts)
        checker = FileChecker(
            self._compiled,
            table,
            parsed.facts,
            self._key,
            self._references,
            lookups=lookups,
            learned=learned,
            last=last_figures(self._conn, contract, self._last_accepted()),
        )
        load_id = _next_load_id(self._conn)
        is_large = arrived.size >= LARGE_BYTES
        given = self._circumstances(parsed, table, lookups)
        known, writer = None, None
        if self._lines and arrived.size >= LEAST_BYTES:
            writer = self._lines.writer(contract.feed)
            if not read_all and announced is None:
                known = self._lines.find(contract.feed, given, parsed.rank.extract_date, self._in_force())
                table.line_filter = known
        self._vault.begin(many=is_large)
        versions = Versions(self._conn, contract, load_id, table.sheet, known=known, many=is_large)
        new_keys: list[Hashes] = []
        checked_batches = (checker.check(batch) for batch in table.batches)
        # a thread of its own for a file of one batch costs more than it saves
        with closing(ahead(checked_batches) if arrived.size >= LEAST_BYTES else checked_batches) as batches:
            for checked in batches:
                landed = versions.add(checked.rows, checked.known_keys)
                identities = checked.vault
                if landed.height != checked.rows.height:
                    identities = identities.filter(pl.col("record_key").is_in(landed["record_key"].implode()))
                self._vault.add(identities, load_id)
                self._write_quarantine(checked.quarantine, name, table.sheet, load_id)
                if writer and checked.rows.height:
                    records = text_to_hashes(checked.rows["record_hash"])
                    writer.add(checked.hashes, checked.keys, records, checked.rows["scope_key"])
                if known:
                    new_keys.append(checked.keys)
        if known and known.is_used:
            known.refuse_conflicts(np.concatenate(new_keys))
            checker.take_unread(known.unchanged, known.repeated)
            versions.take_known()
        if announced:
            check_rows(announced, checker.counts.rows_in)
        if announced is None or announced.rows != 0 or checker.counts.rows_in:
            checker.finish()  # no rows are right where the sender says that there are none
        self._refuse_superseded(versions, name, parsed.rank, sha)
        versions.finish()
        self._vault.finish()
        counts = checker.counts
        report = LoadReport(
            feed=contract.feed,
            file_name=name,
            status="landed" if versions.landed or versions.ended else "unchanged",
            file_sha256=sha,
            load_id=load_id,
            rows_in=counts.rows_in,
            rows_landed=versions.landed,
            rows_unchanged=versions.unchanged,
            rows_quarantined=counts.quarantined,
            rows_exact_duplicate=counts.exact_duplicate,
            rows_ended=versions.ended,
            rows_skipped=counts.skipped,
            encoding=table.encoding,
            sheet=table.sheet,
            scopes=tuple(scope for _, scope in sorted(versions.scopes.items())),
            quarantined_by_rule=_rules(counts),
            normalizations=dict(counts.normalizations),
            warnings=(*_header_warnings(name, table, contract), *(f"{name}: {text}" for text in counts.warnings)),
        )
        self._write_ledger(report, arrived.size, parsed.rank, started)
        if announced:
            write_control_totals(
                self._conn, load_id, contract, announced, versions.scopes, versions.landed + versions.unchanged
            )
        self._trail.settle(load_id, name, sha, has_quarantined=counts.quarantined > 0)
        failpoint.hit("load.before_commit")
        self._conn.commit()
        failpoint.hit("load.after_commit")
        self._vault.committed()
        self._remember(report, parsed.rank)
        if writer and self._lines:
            if known and known.is_used and versions.kept_entries is not None:
                names = {number: scope_key(list(scope.values())) for number, scope in enumerate(known.scopes)}
                writer.add_known(known, versions.kept_entries, names)
            if versions.kept_rows is not None:
                kept = versions.kept_rows
                writer.add_kept(kept["record_key"], kept["?hash"], kept["scope_key"])
            writer.commit(load_id, sha, parsed.rank.extract_date, given, versions.scopes)
            self._lines.forget(contract.feed, self._in_force())
        return report

    def _refuse_superseded(self, versions: Versions, name: str, rank: Rank, sha: str) -> None:
        """An extract older than the last accepted one of its scope changes nothing, nor does one of the same rank.

        Raises:
            FileRejectedError: file.superseded or, for other content under the name in force, file.changed_content;
                both name the file in force.
        """
        for scope in versions.scopes:
            accepted = self._ledger.accepted.get(scope)
            if accepted and accepted.rank == rank and accepted.sha256 != sha and accepted.file_name == name:
                raise FileRejectedError("file.changed_content", f"{accepted.file_name} (load {accepted.load_id})")
            if accepted and accepted.rank and accepted.sha256 != sha and rank < accepted.rank:
                raise FileRejectedError("file.superseded", f"{accepted.file_name} (load {accepted.load_id})")

    def _write_quarantine(self, rows: pl.DataFrame, name: str, sheet: str | None, load_id: int) -> None:
        if rows.is_empty():
            return
        columns = rows.with_columns(
            pl.lit(load_id).alias("load_id"),
            pl.lit(self._contract.feed).alias("feed"),
            pl.lit(name).alias("file_name"),
            pl.lit(sheet, dtype=pl.String).alias("sheet"),
        )
        copy_in(self._conn, sql.Identifier("quarantine", "rejected_row"), columns)

    def _write_ledger(
        self, report: LoadReport, size: int, rank: Rank | None, started: datetime, rejection: Rejection | None = None
    ) -> None:
        file_id = self._file_id(report.file_name, report.file_sha256, size)
        self._conn.execute(
            "insert into ledger.load (load_id, file_id, feed, file_name, contract_version, contract_sha256, status,"
            " rows_in, rows_landed, rows_unchanged, rows_quarantined, rows_exact_duplicate, rows_ended, rows_skipped,"
            " encoding, sheet, scope_values, normalizations, rejection, extract_date, started_at)"
            " overriding system value"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                report.load_id,
                file_id,
                self._contract.feed,
                report.file_name,
                self._contract.version,
                self._contract.sha256,
                report.status,
                report.rows_in,
                report.rows_landed,
                report.rows_unchanged,
                report.rows_quarantined,
                report.rows_exact_duplicate,
                report.rows_ended,
                report.rows_skipped,
                report.encoding,
                report.sheet,
                json.dumps(list(report.scopes), ensure_ascii=False),
                json.dumps(report.normalizations, ensure_ascii=False),
                json.dumps(rejection.to_json(), ensure_ascii=False) if rejection else None,
                rank.extract_date if rank else None,
                started,
            ),
        )
        if report.status != "rejected":
            self._conn.execute(
                "insert into ledger.seen (file_id, file_name, outcome) values (%s, %s, 'loaded')"
                " on conflict do nothing",
                (file_id, report.file_name),
            )

    def _reject(self, name: str, sha: str, size: int, rejection: Rejection, parsed: FileName | None) -> LoadReport:
        """Write a rejection to the ledger, once for the same content, name and contract."""
        for prior in self._ledger.by_sha.get(sha, []):
            is_same = prior.file_name == name and prior.contract_sha256 == self._contract.sha256
            if prior.status == "rejected" and is_same and prior.rejection == rejection.to_json():
                return self._repeat(prior, name, sha)
        report = LoadReport(self._contract.feed, name, "rejected", sha, _next_load_id(self._conn), rejection=rejection)
        rank = parsed.rank if parsed else None
        self._write_ledger(report, size, rank, datetime.now(UTC), rejection)
        self._conn.commit()
        self._remember(report, rank)
        return report

    def _remember(self, report: LoadReport, rank: Rank | None) -> None:
        assert report.load_id is not None
        if report.status != "rejected":
            self._ledger.seen.add((report.file_sha256, report.file_name))
        self._ledger.add(
            _PriorLoad(
                report.load_id,
                report.file_sha256,
                report.file_name,
                report.status,
                self._contract.sha256,
                tuple(scope_key(list(scope.values())) for scope in report.scopes),
                report.rejection.to_json() if report.rejection else None,
                rank,
            )
        )


def _next_load_id(conn: Connection) -> int:
    """The next load id, without gaps: a rolled-back load leaves none, and there is one writer at a time."""
    row = conn.execute("select coalesce(max(load_id), 0) + 1 from ledger.load").fetchone()
    assert row is not None
    return int(str(row[0]))


def _rules(counts: Counts) -> dict[str, int]:
    return {rule: amount for rule, amount in sorted(counts.by_rule.items()) if amount}


def _header_warnings(name: str, table: Table, contract: Contract) -> tuple[str, ...]:
    """What a header that is accepted lacks or has beyond the contract."""
    warnings = []
    if table.header.unknown:
        listed = ", ".join(text[:40] for text in table.header.unknown[:20])
        warnings.append(f"{name}: header.unknown_column: ignored {listed}")
    present = table.header.headers
    if absent := [c for c in contract.columns if c.derived is None and c.name not in present]:
        listed = ", ".join(f"{column.header} ({column.name})" for column in absent)
        warnings.append(f"{name}: header.optional_column: counted as empty {listed}")
    return tuple(warnings)


def load_feed(
    feed_id: str,
    root: Path | Intake,
    contracts: dict[str, Contract],
    config: WarehouseConfig,
    progress: Progress | None = None,
    *,
    names: tuple[str, ...] | None = None,
    again: bool = False,
) -> FeedReport:
    """Load all offered files of a feed in order, one transaction a file; a rejected file does not stop the others.

    Takes the writer lock ``load`` for its length. A lost connection or a server that restarts is tried again twice;
    what was committed is not read again.

    Args:
        feed_id: contract id.
        root: the extract root, or an intake; with a root, the environment may name another source for the feed.
        contracts: all contracts.
        config: the warehouse.
        progress: called with the report of each file.
        names: load these files only, in this order; default: what the feed's source offers and is complete.
        again: read files even if their content is known (see quarantine.replay).

    Returns:
        The report of every file; also which files wait, and which a manifest announces in vain.

    Raises:
        KeyError: no such feed.
        SourceSettingsError: the environment describes no source.
        SourceError: the source cannot be reached; what was loaded before stays.
        TokenKeyError: the token key is missing or wrong; nothing was loaded.
        LockBusyError: another load did not end in time.
        psycopg.Error: the database refused or stayed away; a note names feed and file, nothing of the file landed.
    """
    contract = contracts[feed_id]
    started = time.monotonic()
    key = read_token_key(config)
    reports: list[LoadReport] = []

    def done(report: LoadReport) -> None:
        reports.append(report)
        if progress:
            progress(report)

    def attempt() -> tuple[list[Waiting], tuple[str, ...]]:
        finished = {report.file_name for report in reports}
        place = "before the first file"
        try:
            with ExitStack() as stack:
                intake = (
                    root
                    if isinstance(root, Intake)
                    else stack.enter_context(Intake(root, contracts, config, feeds=(feed_id,)))
                )
                stack.enter_context(writer_lock(config, "ingest", "load", feed_id))
                conn = stack.enter_context(connect("ingest", config))
                ensure_landing(conn, contracts)
                loader = FeedLoader(conn, contract, intake, key, LineStore(config.home / LINES_FOLDER))
                offer = intake.offer(feed_id) if names is None else Offer(names)
                waiting = list(offer.waiting)
                for name in offer.ready:
                    if name in finished:
                        continue
                    place = name
                    try:
                        done(loader.load(name, again=again))
                    except FileGrowingError:
                        waiting.append(still_growing(name))
                for rejection in offer.overdue:
                    if rejection.file not in finished:
                        done(loader.reject(rejection))
                missing = tuple(name for name in offer.not_arrived if not _was_loaded(conn, feed_id, name))
        except psycopg.Error as error:
            told = without_values(error)
            told.add_note(f"feed {feed_id}, {place}: rolled back, nothing of it landed; run the load again")
            refused = told
        else:
            return waiting, missing
        raise refused  # here, so that it does not carry the original and its words along

    for pause in (*_RETRY_PAUSES_S, None):
        try:
            waiting, missing = attempt()
            break
        except psycopg.OperationalError as error:
            if pause is None or not _is_connection_lost(error):
                raise
            time.sleep(pause)
    return FeedReport(feed_id, tuple(reports), time.monotonic() - started, tuple(waiting), missing)


def without_values(error: psycopg.Error) -> psycopg.Error:
    """The error without what PostgreSQL quotes of a row: its detail and context, and what a value did not fit."""
    state = error.sqlstate
    if state is None:
        return error  # of the connection: there is no row in it
    place = ".".join(part for part in (error.diag.schema_name, error.diag.table_name, error.diag.column_name) if part)
    quoted = state.startswith(("22", "23", "P0"))
    words = (error.diag.constraint_name or "") if quoted else (error.diag.message_primary or "")
    return type(error)(" ".join(part for part in (f"{state} {type(error).__name__}", place, words) if part))


def _is_connection_lost(error: psycopg.OperationalError) -> bool:
    """Whether trying again can help: no answer, connection lost (08), server stopping or starting (57P)."""
    state = error.sqlstate
    return state is None or state.startswith(("08", "57P"))


def _was_loaded(conn: Connection, feed_id: str, name: str) -> bool:
    """Whether a file of this name, packed or not, was taken in before."""
    return (
        conn.execute(
            "select 1 from ledger.load where feed = %s and split_part(file_name, '!', 1) in (%s, %s)"
            " and status in ('landed', 'unchanged') limit 1",
            (feed_id, name, f"{name}.gz"),
        ).fetchone()
        is not None
    )


def feed_of(name: str, contracts: dict[str, Contract]) -> str | None:
    """Feed whose stem the file's name starts with, or None."""
    from ingest.names import base_name

    return next((feed for feed, contract in contracts.items() if contract.stem.match(base_name(name))), None)


def load_file(path: Path, root: Path, contracts: dict[str, Contract], config: WarehouseConfig) -> LoadReport:
    """Load one file that lies below the root.

    Raises:
        ValueError: the file is not below the root, or no contract recognizes its name.
    """
    name = path.resolve().relative_to(root.resolve()).as_posix()
    feed = feed_of(name, contracts)
    if feed is None:
        raise ValueError(f"no contract recognizes the name {name}")
    with Intake(root, contracts, config, environ={}) as intake:
        return load_feed(feed, intake, contracts, config, names=(name,)).files[0]


def record_unrecognized(root: Path | Intake, discovery: Discovery, config: WarehouseConfig) -> int:
    """Write files that no contract recognizes, and archives that were refused, to the ledger, once each.

    Returns:
        Number of new ledger rows.
    """
    added = 0
    refused = {rejection.file: rejection for rejection in discovery.refused}
    with writer_lock(config, "ingest", "load", "unrecognized"), connect("ingest", config) as conn:
        for name in (*discovery.unrecognized, *refused):
            rejection = refused.get(name)
            place = (root.root if isinstance(root, Intake) else root) / name
            if place.is_symlink() and rejection:
                # a link that leads outside is not followed; it stands for itself
                sha, size = hashlib.sha256(str(place.readlink()).encode()).hexdigest(), 0
            else:
                try:
                    with opened(root, name) as path:
                        sha, size = file_sha256(path), path.stat().st_size
                except (FileRejectedError, FileGrowingError):
                    continue
            status = "rejected" if rejection else "unrecognized"
            if conn.execute(
                "select 1 from ledger.load l join ledger.file f using (file_id) where f.file_sha256 = %s"
                " and f.feed is null and l.file_name = %s and l.status = %s",
                (sha, name, status),
            ).fetchone():
                continue
            conn.execute(
                "insert into ledger.file (file_sha256, feed, file_name, file_bytes) values (%s, null, %s, %s)"
                " on conflict do nothing",
                (sha, name, size),
            )
            conn.execute(
                "insert into ledger.load (load_id, file_id, file_name, status, rejection) overriding system value"
                " select %s, file_id, %s, %s, %s from ledger.file where file_sha256 = %s and feed is null",
                (
                    _next_load_id(conn),
                    name,
                    status,
                    json.dumps(rejection.to_json(), ensure_ascii=False) if rejection else None,
                    sha,
                ),
            )
            conn.commit()
            added += 1
    return added


@dataclass(frozen=True)
class RowFinding:
    """A row that would be quarantined, for a dry run; the value is masked."""

    line: int
    column: str
    rule: str
    message_en: str
    message_zh: str


@dataclass(frozen=True)
class CheckReport:
    """Outcome of a dry run: the report, and the first rows that would be quarantined."""

    report: LoadReport
    findings: tuple[RowFinding, ...]


def check_file(path: Path, contracts: dict[str, Contract], *, max_findings: int = 100) -> CheckReport:
    """Check a file against its contract without a database; codes that refer to other feeds are not checked.

    Args:
        path: the file; its name decides the feed.
        contracts: all contracts.
        max_findings: how many row findings to keep.

    Returns:
        ``checked`` or ``rejected``, with counts and findings.

    Raises:
        ValueError: no contract recognizes the name.
    """
    feed = feed_of(path.name, contracts)
    if feed is None:
        raise ValueError(f"no contract recognizes the name {path.name}")
    contract = contracts[feed]
    findings: list[RowFinding] = []
    # the key only has to be some key: nothing leaves this function
    key = TokenKey("dry run, tokens are thrown away")
    report = LoadReport(feed, path.name, "checked")
    learned: Learned | None = None
    try:
        if not path.is_file():
            raise FileRejectedError("file.damaged", "it is no longer there", detail_zh="文件已不存在")
        parsed = parse_name(path.name, contract)
        while True:
            table = _READERS[str(parsed.facts["format"])](path, contract)
            checker = FileChecker(CompiledContract(contract), table, parsed.facts, key, {}, learned=learned)
            findings.clear()
            for batch in table.batches:
                checked = checker.check(batch)
                for row in checked.quarantine.head(max(0, max_findings - len(findings))).iter_rows(named=True):
                    findings.append(
                        RowFinding(
                            row["line_number"], row["column_name"], row["rule"], row["message_en"], row["message_zh"]
                        )
                    )
            try:
                checker.finish()
                break
            except ReadAgain as found:
                learned = found.learned
    except FileRejectedError as error:
        return CheckReport(replace(report, status="rejected", rejection=error.rejection(path.name)), tuple(findings))
    counts = checker.counts
    good = counts.rows_in - counts.quarantined - counts.exact_duplicate
    return CheckReport(
        replace(
            report,
            file_sha256=file_sha256(path),
            rows_in=counts.rows_in,
            rows_landed=good,
            rows_quarantined=counts.quarantined,
            rows_exact_duplicate=counts.exact_duplicate,
            rows_skipped=counts.skipped,
            encoding=table.encoding,
            sheet=table.sheet,
            quarantined_by_rule=_rules(counts),
            normalizations=dict(counts.normalizations),
            warnings=(
                *_header_warnings(path.name, table, contract),
                *(f"{path.name}: {text}" for text in counts.warnings),
            ),
        ),
        tuple(findings),
    )
