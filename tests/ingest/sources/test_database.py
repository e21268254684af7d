"""Rows of a real PostgreSQL go the way of every file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from ingest import Contract, FeedReport, Intake, SourceError, SourceSettingsError, load_feed
from ingest.calendar import calendar
from ingest.contract import known_code_lists
from ingest.transport import SourceTimeoutError
from ingest.transport_database import cell_text
from ingest.values import NUMERIC_CELL
from tests.ingest.golden import Row, pupil, pupils
from tests.ingest.sources.servers import Fault, Proxy
from warehouse.clock import today
from warehouse.config import WarehouseConfig
from warehouse.connection import connect, connection_parts

Contracts = dict[str, Contract]
Registry = Callable[..., None]
PASSWORD = "reader's p@ss:word"
TYPES = {"出生日期": "date", "随迁子女": "boolean"}
QUERY = "select * from register order by 学籍号"


@pytest.fixture(scope="module")
def registry(own_server: WarehouseConfig) -> Iterator[Registry]:
    """A database of its own with one table; call it to fill the table."""
    with connect("admin", own_server, autocommit=True) as conn:
        conn.execute("create database registry")
        conn.execute(sql.SQL("create role registry_reader login password {}").format(sql.Literal(PASSWORD)))
    opened = connect("admin", own_server, database="registry", autocommit=True)

    def fill(rows: list[Row], **types: str) -> None:
        opened.execute("drop table if exists register")
        names = list(rows[0])
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL({**TYPES, **types}.get(name, "text")))
            for name in names
        )
        opened.execute(sql.SQL("create table register ({})").format(columns))
        marks = sql.SQL(", ").join(sql.Placeholder() * len(names))
        for row in rows:
            values: list[Any] = [row[name] == "是" if name == "随迁子女" else (row[name] or None) for name in names]
            values = [int(value) if types.get(name) else value for name, value in zip(names, values, strict=True)]
            opened.execute(sql.SQL("insert into register values ({})").format(marks), values)
        opened.execute("grant select on register to registry_reader")

    yield fill
    opened.close()


@pytest.fixture
def ask(root: Path, tmp_path: Path, contracts: Contracts, config: WarehouseConfig) -> Callable[..., Intake]:
    """An intake whose pupils come from the registry."""

    def make(
        query: str = QUERY,
        *,
        port: int | None = None,
        password: str = PASSWORD,
        database: str = "registry",
        **limits: object,
    ) -> Intake:
        (tmp_path / "query.sql").write_text(query, encoding="utf-8")
        path = config.secrets_dir / "source_pupil"
        path.write_text(f'password: "{password}"\n', encoding="utf-8")
        path.chmod(0o600)
        at = port or connection_parts("admin", config).port
        return Intake(
            root,
            contracts,
            config,
            {
                "EDUPA_SOURCE_PUPIL": f"postgresql+psycopg://registry_reader@127.0.0.1:{at}/{database}",
                "EDUPA_SOURCE_PUPIL_QUERY": str(tmp_path / "query.sql"),
                **{f"EDUPA_TRANSFER_{name.upper()}": str(value) for name, value in {"backoff": 0.05, **limits}.items()},
            },
        )

    return make


def load(intake: Intake, config: WarehouseConfig) -> FeedReport:
    with intake:
        return load_feed("pupil", intake, intake.contracts, config)


def landed(config: WarehouseConfig, columns: str) -> list[tuple[Any, ...]]:
    with connect("ingest", config) as conn:
        query = f"select {columns} from landing.pupil where ended_load_id is null order by source_line"
        return conn.execute(query.encode()).fetchall()


def test_rows_land_are_known_again_and_change(
    ask: Callable[..., Intake], registry: Registry, config: WarehouseConfig
) -> None:
    rows = pupils(8)
    rows[1]["姓名"] = '马"小,\n明'
    registry(rows)
    report = load(ask(), config)
    assert [(file.status, file.rows_in, file.rows_landed) for file in report.files] == [("landed", 8, 8)]
    assert report.files[0].file_name.startswith("query@")
    assert report.files[0].scopes == ({"school_year": "2016/17", "county_code": "640422"},)
    assert landed(config, "birth_date::text, is_migrant_child, token_basis")[0] == ("2008-03-15", False, "id_number")
    with connect("auditor", config) as conn:
        assert conn.execute("select encoding, extract_date = current_date from ledger.load").fetchall()[0][0] == "utf-8"
    time.sleep(1.1)  # deliveries are named by the second
    assert [file.status for file in load(ask(), config).files] == ["same_content"]
    rows = [*rows[1:], pupil(9)]
    rows[0]["就读方式"] = "住校"
    registry(rows)
    time.sleep(1.1)
    changed = load(ask(), config).files[0]
    assert (changed.status, changed.rows_landed, changed.rows_unchanged, changed.rows_ended) == ("landed", 2, 6, 2)


def test_the_contract_judges_rows_as_it_judges_files(
    ask: Callable[..., Intake], registry: Registry, config: WarehouseConfig
) -> None:
    registry([*pupils(5), pupil(6, 出生日期="2009-01-01"), pupil(7, 民族="火星族"), pupil(8, 姓名=None)])
    report = load(ask(), config)
    assert report.total("rows_landed") == 5
    assert set(report.files[0].quarantined_by_rule) >= {"id.birth_mismatch", "code.unknown", "required.missing"}
    with connect("ingest", config) as conn:
        lines = conn.execute("select distinct line_number from quarantine.rejected_row order by 1").fetchall()
    assert len(lines) == 3
    bad = load(ask(QUERY.replace("*", "学年, 县代码")), config)
    assert [item.rule for item in bad.rejections] == ["header.missing_column"]


def test_an_id_that_the_database_keeps_as_a_number_is_not_repaired(
    ask: Callable[..., Intake], registry: Registry, config: WarehouseConfig
) -> None:
    rows = [row for row in pupils(12) if row["监护人证件号"].isdigit()]
    registry(rows, 监护人证件号="bigint")
    report = load(ask(), config)
    assert report.total("rows_landed") == 0
    assert report.total("rows_quarantined") == len(rows) or report.rejections


def test_a_cut_connection_is_tried_again(
    ask: Callable[..., Intake], registry: Registry, config: WarehouseConfig, proxy_to: Callable[[int], Proxy]
) -> None:
    registry(pupils(400))
    proxy = proxy_to(connection_parts("admin", config).port)
    proxy.fault = Fault("cut", 20_000, 1)
    report = load(ask(port=proxy.port), config)
    assert (proxy.hits, report.total("rows_landed")) == (1, 400)


@pytest.mark.parametrize("kind", ["freeze", "cut"])
def test_a_line_that_stays_bad_ends_in_a_named_error(
    kind: str, ask: Callable[..., Intake], registry: Registry, config: WarehouseConfig, proxy_to: Callable[[int], Proxy]
) -> None:
    registry(pupils(400))
    proxy = proxy_to(connection_parts("admin", config).port)
    proxy.fault = Fault(kind, 20_000, 1000)
    began = time.monotonic()
    with pytest.raises(SourceTimeoutError if kind == "freeze" else SourceError) as caught:
        load(ask(port=proxy.port, timeout=1, tries=2), config)
    assert time.monotonic() - began < 12
    assert "cannot read rows after 2 tries" in str(caught.value)
    assert ("EDUPA_TRANSFER_TIMEOUT" in str(caught.value)) is (kind == "freeze")
    assert "p@ss" not in str(caught.value)
    assert landed(config, "1") == []


def test_a_slow_query_ends_in_a_named_timeout(
    ask: Callable[..., Intake], registry: Registry, config: WarehouseConfig
) -> None:
    registry(pupils(1))
    with pytest.raises(SourceTimeoutError, match=r"no answer for 0.3 s \(timeout, EDUPA_TRANSFER_TIMEOUT\)"):
        load(ask("select *, pg_sleep(3) from register", timeout=0.3, tries=1), config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query": "select * from nowhere"}, r"cannot read rows: UndefinedTable \(SQLSTATE 42P01\)"),
        ({"query": "select 1/(2-length('640422200803150001')/9)"}, r"DivisionByZero \(SQLSTATE 22012\)"),
        ({"password": "wrong"}, r"cannot read rows: .*password authentication failed"),
        ({"database": "nowhere"}, r"cannot read rows after 2 tries: .*does not exist"),
    ],
)
def test_what_the_database_refuses(
    settings: dict[str, str], message: str, ask: Callable[..., Intake], config: WarehouseConfig
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        load(ask(**settings, tries=2), config)
    assert "6404222008" not in str(caught.value)


def test_rows_beyond_the_limit(ask: Callable[..., Intake], registry: Registry, config: WarehouseConfig) -> None:
    registry(pupils(50))
    report = load(ask(max_bytes=2000), config)
    assert [item.rule for item in report.rejections] == ["file.too_large"]


def test_a_url_that_names_no_database(root: Path, tmp_path: Path, contracts: Contracts) -> None:
    (tmp_path / "q.sql").write_text("select 1", encoding="utf-8")
    environ = {"EDUPA_SOURCE_PUPIL": "nodb://h/x", "EDUPA_SOURCE_PUPIL_QUERY": str(tmp_path / "q.sql")}
    with pytest.raises(SourceSettingsError, match="EDUPA_SOURCE_PUPIL: not a database URL"):
        Intake(root, contracts, None, environ)


def test_cells() -> None:
    values = [None, "0012", True, False, 5, 2.5, Decimal("1E+3"), date(2016, 1, 2), datetime(2016, 1, 2), b"x"]
    assert [cell_text(value, False) for value in values] == [
        "", "0012", "1", "0", "5", "2.5", "1000", "2016-01-02", "2016-01-02", "b'x'",
    ]  # fmt: skip
    assert cell_text(640422200803150001, True) == f"{NUMERIC_CELL}640422200803150001"
    assert cell_text("640422200803150001", True) == "640422200803150001"
    assert cell_text(datetime(2016, 1, 2, 3, 4), False) == "2016-01-02 03:04:00"


def test_the_calendar_places_what_a_query_brought(
    registry: Registry, ask: Callable[..., Intake], config: WarehouseConfig, contracts: Contracts
) -> None:
    other = [pupil(index, 县代码="640423", 学校标识码="2164000999") for index in range(21, 24)]
    registry([*pupils(5), *other])
    load(ask(), config)
    day = today()
    with connect("auditor", config) as conn:
        found = {
            (item.period, item.unit): item
            for item in calendar(conn, contracts, known_code_lists(), day, "pupil")
            if item.files
        }
        yesterday = calendar(conn, contracts, known_code_lists(), date(2016, 12, 31), "pupil")
    assert set(found) == {(2016, "640422"), (2016, "640423")}
    assert {item.state for item in found.values()} == {"late"}
    assert all(item.remark.endswith("days after it was due; in a query of 8 rows") for item in found.values())
    assert not any(item.files for item in yesterday)
