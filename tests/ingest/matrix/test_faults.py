"""Faults around a load: killed, cut, slow, full, locked, misdated, misconfigured. Nothing is lost, nothing is doubled.

What: each row of the fault matrix that concerns ingest, against a private server, with real signals, a real proxy and
real small disks. Why: a nightly load is judged by the morning after a bad night. How to fix: the failing assertion
compares with what an undisturbed load leaves behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

import ingest
from ingest import LandingDriftError, TokenKeyError
from tests.conftest import make_warehouse
from tests.ingest.golden import PUPIL_NAME, csv_text, event, id_number, pupil, pupils
from tests.ingest.matrix.clock import MOMENT, SHIFT, STEP, wrong_clock
from tests.ingest.matrix.night import NAMES, Night, Place, golden
from tests.ingest.matrix.proxy import Proxy
from warehouse.config import PROJECT_ROOT, ConfigError, WarehouseConfig
from warehouse.connection import TIMEOUT_VARIABLE, connect, connection_parts
from warehouse.locks import LockBusyError, writer_lock
from warehouse.server import start, stop

Fault = Callable[[Night], None]
FAULTS: dict[str, Fault] = {}
PUPIL = NAMES["pupil"]
ROWS = 400
_LOADER = """
import sys
from pathlib import Path
import ingest
from warehouse.config import load_config
config = load_config()
try:
    ingest.load_feed(sys.argv[2], Path(sys.argv[1]), ingest.load_contracts(), config)
except Exception as error:
    print(type(error).__name__, str(error).strip(), *getattr(error, "__notes__", ()), sep="\\n", file=sys.stderr)
    sys.exit(3)
"""


def fault(name: str) -> Callable[[Fault], Fault]:
    """Register a test under its row of the matrix."""

    def register(test: Fault) -> Fault:
        assert name not in FAULTS
        FAULTS[name] = test
        return test

    return register


def through(config: WarehouseConfig, port: int) -> WarehouseConfig:
    """The same warehouse by way of another port."""
    parts = connection_parts("admin", config)
    return replace(config, url=f"postgresql://{parts.user}:{parts.password}@127.0.0.1:{port}/{parts.database}")


def environment(config: WarehouseConfig, **more: str) -> dict[str, str]:
    """What a loader in a process of its own needs."""
    given = {
        "EDUPA_HOME": str(config.home),
        "EDUPA_SECRETS_DIR": str(config.secrets_dir),
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    if config.url:
        given["EDUPA_WAREHOUSE_URL"] = config.url
    return {**os.environ, **given, **more}


@contextmanager
def loader(night: Night, config: WarehouseConfig, feed: str = "pupil", **more: str) -> Iterator[subprocess.Popen[str]]:
    """A loader in a process of its own; killed if it still runs at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", _LOADER, str(night.root), feed],
        cwd=PROJECT_ROOT,
        env=environment(config, **more),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def state(night: Night) -> str:
    """Hash of everything a load leaves: rows, versions, vault, quarantine and ledger, without the clock."""
    tables = [
        *(f"select to_jsonb(t) - 'record_id' as j from landing.{feed} t" for feed in sorted(night.contracts)),
        "select to_jsonb(t) as j from vault.person_identity t",
        "select to_jsonb(t) - 'rejected_row_id' - 'quarantined_at' as j from quarantine.rejected_row t",
        "select to_jsonb(t) - 'file_id' - 'started_at' - 'finished_at' as j from ledger.load t",
        "select to_jsonb(t) - 'file_id' - 'first_seen_at' as j from ledger.file t",
    ]
    return str(
        night.sql(f"select md5(string_agg(j::text, '|' order by j::text)) from ({' union all '.join(tables)}) x")[0][0]
    )


def counts(night: Night) -> tuple[int, int, int]:
    """Rows in landing, in the vault and in the ledger."""
    return night.sql(
        "select (select count(*) from landing.pupil), (select count(*) from vault.person_identity),"
        " (select count(*) from ledger.load)"
    )[0]


def many_pupils() -> list[dict[str, Any]]:
    """Pupils enough for several network buffers, and one of them damaged."""
    rows = pupils(ROWS)
    rows[7]["性别"] = "未知"
    return rows


def measure(night: Night) -> tuple[str, int]:
    """What an undisturbed load leaves, and how many bytes it sends; the warehouse is emptied again."""
    with Proxy(connection_parts("admin", night.config).port) as proxy:
        ingest.load_feed("pupil", night.root, night.contracts, through(night.config, proxy.port))
        sent = proxy.sent
    night.check_identity()
    left = state(night)
    empty_again(night)
    return left, sent


def empty_again(night: Night) -> None:
    """Forget every load."""
    with connect("admin", night.config) as conn:
        tables = ", ".join(f"landing.{feed}" for feed in night.contracts)
        conn.execute(
            f"truncate {tables}, ledger.load, ledger.seen, ledger.file, vault.person_identity, quarantine.rejected_row"
            " restart identity cascade"
        )
    shutil.rmtree(night.config.home / "lines", ignore_errors=True)


def wait_until(is_true: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.05)


def write_ahead(conn: psycopg.Connection[tuple[object, ...]], megabytes: int) -> None:
    """Write so much WAL."""
    for _ in range(megabytes):
        conn.execute("select pg_logical_emit_message(false, 'edupa', repeat('x', 1000000))")


@contextmanager
def small_disk(megabytes: int, *, owner: int | None = None) -> Iterator[Path]:
    """A tmpfs of so many megabytes; whoever runs the tests must be allowed to mount one."""
    folder = Path(tempfile.mkdtemp(prefix="edupa-disk-"))
    folder.chmod(0o755)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=False)
    if done.returncode != 0:
        folder.rmdir()
        pytest.skip("only root may mount a small disk: run the tests as root to try the disk faults")
    try:
        if owner is not None:
            os.chown(folder, owner, -1)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


@fault("F1")
def killed_within_copy(night: Night) -> None:
    night.csv("pupil", many_pupils())
    expected, sent = measure(night)
    for share in (0.0, 0.25, 0.5, 0.99):
        port = connection_parts("admin", night.config).port
        with Proxy(port) as proxy, loader(night, through(night.config, proxy.port)) as process:
            proxy.when_sent(int(sent * share), process.kill)
            assert process.wait(60) == -signal.SIGKILL
        assert counts(night) == (0, 0, 0), share
        if share in (0.25, 0.99):
            assert night.last("pupil").rows_landed == ROWS - 1
            assert state(night) == expected, share
            empty_again(night)


@fault("F2")
def killed_between_copy_and_ledger(night: Night) -> None:
    night.csv("pupil", many_pupils())
    assert night.last("pupil").rows_landed == ROWS - 1
    # one transaction wrote rows, identities, quarantine and ledger: there is no moment between them
    writers = night.sql(
        "select xmin::text from landing.pupil union select xmin::text from vault.person_identity"
        " union select xmin::text from quarantine.rejected_row union select xmin::text from ledger.load"
    )
    assert len(writers) == 1
    before = state(night)
    (night.root / PUPIL).unlink()
    night.csv("pupil", pupils(ROWS), PUPIL.replace("20161020", "20161120"))
    with loader(night, night.config, EDUPA_FAILPOINT="load.before_commit") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert state(night) == before
    assert night.last("pupil").rows_landed == 1
    assert night.sql("select count(*) from ledger.load") == [(2,)]


@fault("F8")
def server_crashes_during_a_load(night: Night) -> None:
    night.csv("pupil", many_pupils())
    expected, sent = measure(night)
    port = connection_parts("admin", night.config).port
    with Proxy(port) as proxy, loader(night, through(night.config, proxy.port)) as process:
        # in the proxy's own thread: no further byte is forwarded until the server is down
        proxy.when_sent(sent // 2, lambda: stop(night.config, mode="immediate"))
        _, said = process.communicate(timeout=90)
    start(night.config)
    assert process.returncode == 3
    assert "run the load again" in said or "refused" in said or "closed" in said
    assert counts(night) == (0, 0, 0)
    assert night.last("pupil").rows_landed == ROWS - 1
    assert state(night) == expected


@fault("F9")
def server_restarts_during_a_load(night: Night) -> None:
    night.csv("pupil", many_pupils())
    expected, sent = measure(night)
    with Proxy(connection_parts("admin", night.config).port) as proxy:

        def restart() -> None:
            stop(night.config, mode="fast")
            start(night.config)

        restarting = threading.Thread(target=restart)
        proxy.when_sent(sent // 2, restarting.start)
        report = ingest.load_feed("pupil", night.root, night.contracts, through(night.config, proxy.port))
        restarting.join()
    assert report.total("rows_landed") == ROWS - 1
    assert state(night) == expected
    # a server that stays away is named after a bounded time
    began = time.monotonic()
    with Proxy(1) as nothing, pytest.raises(psycopg.OperationalError) as refused:
        ingest.load_feed("pupil", night.root, night.contracts, through(night.config, nothing.port))
    assert time.monotonic() - began < 30
    assert refused.value.__notes__ == [
        "feed pupil, before the first file: rolled back, nothing of it landed; run the load again"
    ]


@fault("F10")
def connection_cut_within_copy(night: Night) -> None:
    night.csv("pupil", many_pupils())
    expected, sent = measure(night)
    port = connection_parts("admin", night.config).port
    with Proxy(port) as proxy:
        proxy.when_sent(sent // 2, proxy.cut)
        report = ingest.load_feed("pupil", night.root, night.contracts, through(night.config, proxy.port))
    assert report.total("rows_landed") == ROWS - 1
    assert state(night) == expected
    # half-open behind something that goes on acknowledging: the load hangs up by itself, and tries again
    empty_again(night)
    with Proxy(port) as proxy, patch.dict(os.environ, {TIMEOUT_VARIABLE: "2"}):
        proxy.when_sent(sent // 2, proxy.fall_silent)
        began = time.monotonic()
        report = ingest.load_feed("pupil", night.root, night.contracts, through(night.config, proxy.port))
        assert 2 < time.monotonic() - began < 30
    assert report.total("rows_landed") == ROWS - 1
    assert state(night) == expected
    # half-open: both kernels ask on their own, and give up what does not answer within the bound that was set
    for seconds, idle in (("60", 30), ("6", 3)):
        with patch.dict(os.environ, {TIMEOUT_VARIABLE: seconds}), connect("ingest", night.config) as conn:
            with socket.socket(fileno=os.dup(conn.pgconn.socket)) as own:
                options = (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                assert [own.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [
                    int(seconds) * 1000, idle, idle // 3, 3,
                ]  # fmt: skip
                assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            # the server's side of a client that has vanished: it holds the lock until it gives up too
            names = ("tcp_user_timeout", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
            told = [conn.execute("select setting::int from pg_settings where name = %s", (name,)).fetchone()
                    for name in names]  # fmt: skip
            assert told == [(int(seconds) * 1000,), (idle,), (idle // 3,), (3,)]
    with (
        pytest.raises(ConfigError, match=f"{TIMEOUT_VARIABLE} must be a whole number of seconds"),
        patch.dict(os.environ, {TIMEOUT_VARIABLE: "soon"}),
    ):
        connect("ingest", night.config)


@fault("F11")
def slow_network(night: Night) -> None:
    night.csv("pupil", pupils(60))
    # 200 ms there and back, half as much jitter
    with Proxy(connection_parts("admin", night.config).port, delay_s=0.1, jitter_s=0.05) as proxy:
        began = time.monotonic()
        report = ingest.load_feed("pupil", night.root, night.contracts, through(night.config, proxy.port))
        taken = time.monotonic() - began
    assert report.total("rows_landed") == 60
    assert 1 < taken < 60
    night.check_identity()


@contextmanager
def data_on(night: Night, folder: Path) -> Iterator[None]:
    """The landing table of pupils in a tablespace in that folder."""
    place = folder / "space"
    place.mkdir(mode=0o700)
    owner = Path(_data_folder(night)).stat()
    os.chown(place, owner.st_uid, owner.st_gid)
    with connect("admin", night.config, autocommit=True) as conn:
        conn.execute(f"create tablespace small location '{place}'")
        conn.execute("alter table landing.pupil set tablespace small")
        conn.execute("alter index landing.pupil_current set tablespace small")
    try:
        yield
    finally:
        with connect("admin", night.config, autocommit=True) as conn:
            conn.execute("alter table landing.pupil set tablespace pg_default")
            conn.execute("alter index landing.pupil_current set tablespace pg_default")
            conn.execute("drop tablespace small")


def _data_folder(night: Night) -> str:
    with connect("admin", night.config) as conn:
        row = conn.execute("show data_directory").fetchone()
    assert row is not None
    return str(row[0])


@fault("F12")
def data_disk_full(night: Night) -> None:
    night.csv("school", golden("school"))
    night.load("school")
    rows = [pupil(index) for index in range(1, 25)]
    for row in rows:
        row["学校标识码"] = "2164000123"
    night.csv("pupil", rows)
    with small_disk(2) as disk, data_on(night, disk):
        ballast = disk / "ballast"
        with suppress(OSError), ballast.open("wb") as handle:
            while True:
                handle.write(bytes(4096))
                handle.flush()
        with pytest.raises(psycopg.errors.DiskFull) as full:
            night.load("pupil")
        assert full.value.sqlstate == "53100"
        assert f"feed pupil, {PUPIL}: rolled back" in full.value.__notes__[0]
        # what was there is still read
        assert night.sql("select count(*) from landing.school") == [(24,)]
        assert counts(night)[0] == 0
        assert night.sql("select count(*) from ledger.load where feed = 'pupil'") == [(0,)]
        ballast.unlink()
        assert night.accepted("pupil", 24).rows_landed == 24


@fault("F13")
def wal_disk_full(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    night.load("pupil")
    before = state(night)
    data = Path(_data_folder(night))
    wal = data / "pg_wal"
    owner = wal.stat()
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(80))
        stop(night.config)
        place = disk / "pg_wal"
        shutil.copytree(wal, place)
        for path in (place, *place.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        place.chmod(0o700)
        aside = wal.with_name("pg_wal.aside")
        wal.rename(aside)
        wal.symlink_to(place)
        try:
            start(night.config)
            ballast = disk / "ballast"
            with suppress(OSError), ballast.open("wb") as handle:
                while True:
                    handle.write(bytes(65536))
                    handle.flush()
            with pytest.raises(psycopg.Error), connect("admin", night.config, autocommit=True) as conn:
                write_ahead(conn, 200)
            ballast.unlink()
            stop(night.config, mode="immediate")
            start(night.config)
            assert state(night) == before
            night.csv("pupil", pupils(25), PUPIL.replace("20161020", "20161120"))
            assert night.last("pupil").rows_landed == 1
        finally:
            stop(night.config)
            wal.unlink()
            shutil.copytree(place, wal)
            for path in (wal, *wal.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid)
            wal.chmod(0o700)
            shutil.rmtree(aside)
            start(night.config)


@fault("F14")
def temporary_space_exhausted(night: Night) -> None:
    areas = [{**row, "区划代码": f"6404222{index:05d}"} for row in golden("admin_area", 1) for index in range(9000)]
    night.csv("admin_area", areas)
    night.load("admin_area")
    night.csv("poor_person", golden("poor_person"))
    with connect("admin", night.config, autocommit=True) as conn:
        conn.execute("alter role edupa_ingest set work_mem = '64kB'")
        conn.execute("alter role edupa_ingest set temp_file_limit = 0")
    try:
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded) as full:
            night.load("poor_person")
        assert full.value.sqlstate == "53400"
        assert "feed poor_person" in full.value.__notes__[0]
    finally:
        with connect("admin", night.config, autocommit=True) as conn:
            conn.execute("alter role edupa_ingest reset all")
    assert night.sql("select count(*) from landing.poor_person") == [(0,)]
    report = night.last("poor_person")
    assert report.rows_in == 24


@fault("F15")
def landing_disk_full_while_receiving(night: Night) -> None:
    content = csv_text(many_pupils()).encode()
    with small_disk(1) as disk:
        (night.root / "E04_学籍").symlink_to(disk, target_is_directory=True)
        inside = replace_root(night, disk)
        (disk / "ballast").write_bytes(bytes(1024 * 1024 - 32 * 1024))
        part = disk / f"{PUPIL_NAME}.part"
        with pytest.raises(OSError, match="No space left"):
            part.write_bytes(content * 4)
        report = inside.load("pupil")
        assert report.files == ()
        assert [item.file for item in report.waiting] in ([], [part.name])
        (disk / "ballast").unlink()
        part.write_bytes(content)
        part.rename(disk / PUPIL_NAME)
        assert inside.last("pupil").rows_landed == ROWS - 1


def replace_root(night: Night, root: Path) -> Night:
    """The same warehouse with another extract root."""
    return Night(root, night.contracts, night.config)


@fault("F17")
def two_nightly_runs_at_once(night: Night) -> None:
    for day in range(1, 6):
        night.csv("pupil", pupils(20 + day), PUPIL.replace("20161020", f"201610{20 + day}"))
    reports: list[Any] = []

    def run() -> None:
        reports.append(ingest.load_feed("pupil", night.root, night.contracts, night.config))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(report.count("landed") for report in reports) == [0, 5]
    assert sorted(report.count("same_content") for report in reports) == [0, 5]
    assert night.sql("select count(*) from ledger.load") == [(5,)]
    night.check_identity()
    first = writer_lock(night.config, "ingest", "load", "night A")
    second = writer_lock(night.config, "ingest", "load", "night B", wait_s=0)
    with first, pytest.raises(LockBusyError, match=r"edupa load night A.*holds the 'load' lock"), second:
        raise AssertionError("two runs hold one lock")


@fault("F18")
def backfill_and_nightly_overlap(night: Night) -> None:
    years = {}
    for year in (2013, 2014, 2015):
        folder = night.root / str(year)
        folder.mkdir()
        rows = [
            {**pupil(index), "学年": f"{year}/{(year + 1) % 100}", "年级": "一年级", "入学年月": ""}
            for index in range(1, 31)
        ]
        name = PUPIL_NAME.replace("_2016_20161020", f"_{year}_{year}1020")
        (folder / name).write_bytes(csv_text(rows).encode())
        years[year] = name
    nightly = night.root / "nightly"
    nightly.mkdir()
    (nightly / PUPIL_NAME).write_bytes(csv_text(pupils(40)).encode())

    def load(names: tuple[str, ...]) -> None:
        ingest.load_feed("pupil", night.root, night.contracts, night.config, names=names)

    backfill = threading.Thread(target=load, args=(tuple(f"{year}/{name}" for year, name in years.items()),))
    backfill.start()
    load((f"nightly/{PUPIL_NAME}",))
    backfill.join(60)
    night.check_identity()
    assert night.sql("select school_year, count(*) from landing.pupil where ended_load_id is null group by 1 order by 1"
    ) == [
        ("2013/14", 30), ("2014/15", 30), ("2015/16", 30), ("2016/17", 40),
    ]  # fmt: skip
    assert night.sql("select max(load_id) = count(*) from ledger.load") == [(True,)]


@fault("F20")
def lock_holder_dies(night: Night) -> None:
    code = (
        "import time\nfrom warehouse.config import load_config\nfrom warehouse.locks import writer_lock\n"
        "with writer_lock(load_config(), 'ingest', 'load', 'doomed'):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, env=environment(night.config), stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockBusyError, match="doomed"), writer_lock(night.config, "ingest", "load", "x", wait_s=0):
            raise AssertionError("the lock was free")
        holder.kill()
    began = time.monotonic()
    night.csv("pupil", golden("pupil"))
    night.accepted("pupil", 24)
    assert time.monotonic() - began < 10


@fault("F25")
def clocks_and_time_zones(night: Night) -> None:
    night.csv(
        "student_event",
        [
            event(1, 异动日期="2016-08-31"),
            event(2, 异动日期="2016-08-31T15:59:59Z"),
            event(3, 异动日期="2016-08-31T16:00:00Z"),
        ],
    )
    clock = wrong_clock(night.root.parent / "clock")
    # host, client and server in different zones; the clock an hour off either way, set back during the load (NTP), and
    # on the night on which New York loses an hour
    nights: list[dict[str, str]] = [
        {"TZ": "UTC", "PGTZ": "Asia/Shanghai", SHIFT: "3600"},
        {"TZ": "Asia/Shanghai", SHIFT: "-3600", STEP: "-7200"},
        {"TZ": "America/New_York", MOMENT: "2026-03-08T06:59:59+00:00", STEP: "3600"},
    ]
    states = set()
    for number, given in enumerate(nights):
        if number == 1:
            with connect("admin", night.config) as conn:
                conn.execute("alter role edupa_ingest set timezone = 'Pacific/Kiritimati'")
        with loader(night, night.config, "student_event", **clock, **given) as process:
            assert process.wait(120) == 0
        found = night.sql("select source_line, event_date::text from landing.student_event order by 1")
        assert found == [(2, "2016-08-31"), (3, "2016-08-31")], given
        assert night.sql("select line_number, rule from quarantine.rejected_row") == [(4, "date.out_of_range")], given
        states.add(state(night))
        empty_again(night)
    with connect("admin", night.config) as conn:
        conn.execute("alter role edupa_ingest reset timezone")
    assert len(states) == 1
    # the extract date is a logical date: only the future is refused, and the day begins in China, wherever the host is
    name = night.csv("pupil", pupils(3), PUPIL.replace("20161020", "20160901"))
    for moment, status in (("2016-08-31T15:59:00+00:00", "rejected"), ("2016-08-31T16:01:00+00:00", "landed")):
        with loader(night, night.config, **clock, TZ="America/New_York", **{MOMENT: moment}) as process:
            assert process.wait(120) == 0
        told = night.sql("select status, coalesce(rejection ->> 'rule', '') from ledger.load where file_name = %s"
                         " order by load_id desc limit 1", name)  # fmt: skip
        assert told == [(status, "file.name" if status == "rejected" else "")]
    assert night.sql("select distinct school_year from landing.pupil") == [("2016/17",)]
    started = night.sql("select started_at from ledger.load where status = 'landed'")[0][0]
    assert started.timestamp() // 3600 == datetime.fromisoformat("2016-08-31T16:00:00+00:00").timestamp() // 3600


@fault("F26")
def leap_day_and_switch_of_year(night: Night) -> None:
    leap, none = id_number(3, "20080229"), id_number(4, "20070301", female=True)
    rows = [
        pupil(1, 出生日期="2008-09-01", 证件号码=id_number(1, "20080901"), 学籍号=f"G{id_number(1, '20080901')}"),
        pupil(3, 出生日期="2008-02-29", 证件号码=leap, 学籍号=f"G{leap}"),
        pupil(4, 出生日期="2007-02-29", 证件号码=none, 学籍号=f"G{none}"),
        pupil(5, 学年="2015/16"),
        pupil(6, 学年="2016-2017学年"),
        pupil(7, 学年="2016/18"),
    ]
    night.csv("pupil", rows)
    night.quarantined(
        "pupil", 6, Place(4, "birth_date", "type.date"), Place(5, "school_year", "date.out_of_range"),
        Place(7, "school_year", "code.pattern"),
    )  # fmt: skip
    assert night.sql("select distinct school_year from landing.pupil") == [("2016/17",)]
    name = NAMES["student_event"].replace("_2016_20161020", "_2020_20201020")
    days = ("2019-08-31", "2019-09-01", "2020-02-29", "2020-08-31", "2020-09-01")
    night.csv("student_event", [event(index, 学年="2020/21", 异动日期=day) for index, day in enumerate(days, 1)], name)
    night.quarantined(
        "student_event", 5, Place(2, "event_date", "date.out_of_range"), Place(6, "event_date", "date.out_of_range")
    )
    end = NAMES["poor_household"].replace("_2016_20170110", "_2016_20161231")
    night.csv("poor_household", golden("poor_household"), end)
    night.accepted("poor_household", 24)


@fault("F27")
def same_day_ten_times(night: Night) -> None:
    night.csv("pupil", many_pupils())
    night.load("pupil")
    first = state(night)
    for _ in range(10):
        report = night.last("pupil")
        assert (report.status, report.is_repeated) == ("same_content", True)
        assert state(night) == first


@fault("F28")
def days_out_of_order(night: Night) -> None:
    days = {day: PUPIL.replace("20161020", f"201610{day}") for day in (20, 21, 22)}
    files = {20: pupils(20), 21: pupils(22), 22: [*pupils(21), pupil(30)]}

    def current() -> list[tuple[Any, ...]]:
        return night.sql("select record_key, record_hash from landing.pupil where ended_load_id is null order by 1")

    def load(day: int) -> str:
        night.csv("pupil", files[day], days[day])
        report = ingest.load_feed("pupil", night.root, night.contracts, night.config, names=(days[day],))
        night.check_identity()
        return report.files[0].status

    assert [load(day) for day in (20, 21, 22)] == ["landed", "landed", "landed"]
    in_order = current()
    empty_again(night)
    assert [load(day) for day in (20, 22, 21)] == ["landed", "landed", "rejected"]
    assert current() == in_order
    assert night.sql("select rejection ->> 'rule' from ledger.load order by load_id desc limit 1") == [
        ("file.superseded",)
    ]


@fault("F30")
def late_file(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    night.load("pupil")
    sealed = night.sql("select max(load_id) from ledger.load")[0][0]
    as_known = (
        "select record_key, record_hash from landing.pupil where load_id <= %s"
        " and (ended_load_id is null or ended_load_id > %s) order by 1"
    )
    before = night.sql(as_known, sealed, sealed)
    night.csv("pupil", [*pupils(23), pupil(40)], PUPIL.replace("20161020", "20170320"))
    late = night.accepted("pupil", 24)
    assert (late.rows_landed, late.rows_ended) == (1, 1)
    # what a sealed release was made of can be read for ever; the change has a load of its own
    assert night.sql(as_known, sealed, sealed) == before
    assert night.sql(
        "select load_id, extract_date::text, rows_landed, rows_ended from ledger.load where load_id > %s", sealed
    ) == [(late.load_id, "2017-03-20", 1, 1)]


@fault("F32")
def token_key_missing_wrong_or_rotated(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    night.load("pupil")
    before = state(night)
    night.csv("pupil", pupils(30), PUPIL.replace("20161020", "20161120"))
    key = night.config.secret_path("token_key")
    kept = key.read_bytes()
    try:
        for content, words in (
            (None, "missing"),
            (b"", "missing"),
            (b"ab" * 8, "shorter"),
            (b"cd" * 32, "wrong token key"),
        ):
            key.unlink(missing_ok=True)
            if content is not None:
                key.write_bytes(content)
            with pytest.raises(TokenKeyError, match=words) as refused:
                night.load("pupil")
            assert content is None or not content or content.decode() not in str(refused.value)
            assert state(night) == before
    finally:
        key.write_bytes(kept)
    assert night.last("pupil").rows_landed == 6
    number = id_number(30, female=True)
    assert night.sql("select count(*) from landing.pupil t where t::text like %s", f"%{number}%") == [(0,)]


@fault("F34")
def raw_table_altered(night: Night) -> None:
    night.csv("pupil", golden("pupil"))
    damages = (
        ("alter table landing.pupil alter column birth_date type text", r"landing\.pupil\.birth_date is text",
         "alter table landing.pupil alter column birth_date type date using birth_date::date"),
        ("alter table landing.pupil add column remark text", "landing.pupil has column remark",
         "alter table landing.pupil drop column remark"),
        ("alter table landing.pupil rename column record_hash to hash", "landing.pupil has",
         "alter table landing.pupil rename column hash to record_hash"),
    )  # fmt: skip
    for damage, words, repair in damages:
        with connect("admin", night.config) as conn:
            conn.execute(damage)
        try:
            with pytest.raises(LandingDriftError, match=words):
                ingest.load_feed("pupil", night.root, night.contracts, night.config)
        finally:
            with connect("admin", night.config) as conn:
                conn.execute(repair)
        assert night.sql("select count(*) from ledger.load") == [(0,)]
    night.accepted("pupil", 24)


@pytest.fixture(scope="module")
def own_server() -> Iterator[WarehouseConfig]:
    """A server for this module alone: it is stopped, killed and starved here."""
    home = Path(tempfile.mkdtemp(prefix="edupa-test-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    yield config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("name", [pytest.param(name, id=f"fault[{name}]") for name in FAULTS])
def test_fault(name: str, night: Night) -> None:
    FAULTS[name](night)


def test_the_faults_are_complete() -> None:
    wanted = {1, 2, *range(8, 16), 17, 18, 20, *range(25, 29), 30, 32, 34}
    assert {int(name[1:]) for name in FAULTS} == wanted
