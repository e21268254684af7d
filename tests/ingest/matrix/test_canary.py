"""A canary, a name and an ID number, in every column of every feed: after a night full of errors only the vault has it.

What: landing, ledger, quarantine, reports that travel through XCom, exceptions, logs of loader and server, and every
file that the loader leaves. Why: whoever leaks one child's name has leaked the register. How to fix: the failing
assertion names the artifact.
"""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import ingest
from tests.ingest.golden import Row, csv_text, id_number
from tests.ingest.matrix.night import NAMES, Night, golden
from tests.ingest.matrix.test_bad_input import workbook
from warehouse.config import PROJECT_ROOT
from warehouse.connection import connect
from warehouse.server import read_state

CANARY = "欧阳鑫垚"
CANARY_ID = id_number(137, "20080229")
#: what must not be seen: the name, and the part of the number that is a person's
NEEDLES = (CANARY, CANARY_ID[6:], "".join(chr(ord(c) + 0xFEE0) for c in CANARY_ID))


def planted(feed: str) -> list[Row]:
    """Golden rows, then for each column a row with the name, one with the number, and one with both in it."""
    clean = golden(feed)
    rows = [*clean]
    for position, header in enumerate(clean[0]):
        for content in (CANARY, CANARY_ID, f"{CANARY}{CANARY_ID}", f"见{CANARY[:2]} {CANARY}", f"1{CANARY_ID}"):
            rows.append({**clean[position % len(clean)], header: content})
    return rows


def lawful(feed: str) -> list[Row]:
    """A clean row of the canary, which belongs in the vault."""
    (row,) = golden(feed, 1)
    if feed == "pupil":
        row = {**row, "证件号码": CANARY_ID, "学籍号": f"G{CANARY_ID}", "出生日期": "2008-02-29", "姓名": CANARY}
    return [row]


def broken_files(feed: str) -> Iterator[tuple[str, bytes]]:
    """Name of the suffix and bytes of files that are wrong as a whole, each with canaries."""
    text = csv_text(planted(feed))
    yield "(1)", text.encode() + f'"{CANARY},{CANARY_ID}\r\n'.encode()
    yield "(2)", text.encode() + f"{CANARY},{CANARY_ID}".encode() + b"\xff\xff\r\n"
    yield "(3)", text.replace(",", ";").encode()
    yield "(4)", f"{CANARY},{CANARY_ID}\r\n{CANARY_ID},{CANARY}\r\n".encode()
    header, _, body = text.partition("\r\n")
    yield "(5)", f"{header},{CANARY_ID}\r\n{body.replace(chr(13), f',{CANARY},{CANARY_ID}{chr(13)}')}".encode()
    yield "(6)", text.encode() + f"{CANARY},{CANARY_ID}".encode()
    yield "(7)", text.replace("\r\n", "\x00\r\n").encode()


def assert_clean(where: str, text: str) -> None:
    """None of the needles in a text."""
    for needle in NEEDLES:
        at = text.find(needle)
        assert at < 0, f"{where}: …{text[max(0, at - 60) : at]}[canary]"


def tables_outside_vault(night: Night) -> list[str]:
    """Every table that a load writes, but for the vault."""
    found = night.sql(
        "select format('%%I.%%I', table_schema, table_name) from information_schema.tables"
        " where table_schema in ('landing', 'ledger', 'quarantine') order by 1"
    )
    return [name for (name,) in found]


def test_the_canary_is_found_in_the_vault_only(
    night: Night, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: dict[str, str] = {}
    for feed in night.contracts:
        name = NAMES[feed]
        night.csv(feed, planted(feed))
        for suffix, content in broken_files(feed):
            night.raw(name.replace(".csv", f"{suffix}.csv"), content)
        numbers = frozenset(header for header, value in golden(feed)[0].items() if isinstance(value, int))
        rows = [row for row in planted(feed) if all(str(row[header]).isdigit() for header in numbers)]
        night.raw(name.replace(".csv", "(8).xlsx"), workbook(rows, numbers=numbers))
        night.raw(name.replace(".csv", "(9).csv"), csv_text(lawful(feed)).encode())
    for feed in night.contracts:
        for path in sorted((night.root / NAMES[feed]).parent.iterdir()):
            if ingest.feed_of(path.name, night.contracts) == feed:
                checked = ingest.check_file(path, night.contracts)
                texts[f"dry run of {path.name}"] = (
                    f"{checked!r} {json.dumps(checked.report.to_json(), ensure_ascii=False)}"
                )
        report = night.load(feed)
        texts[f"report of {feed}"] = f"{report!r} {json.dumps(report.to_json(), ensure_ascii=False)}"
        assert report.total("rows_quarantined") > len(golden(feed)[0])
        assert report.count("rejected") >= 4
    for table in tables_outside_vault(night):
        texts[table] = "\n".join(str(row) for row in night.sql(f"select t::text from {table} t"))
    texts["exception"] = database_refuses(night)
    texts["log records"] = caplog.text
    texts["output"] = "".join(capfd.readouterr())
    texts |= files_left_behind(night)
    for where, text in texts.items():
        assert_clean(where, text)
    kept = night.sql(
        "select count(*) from vault.person_identity where identifier = %s and person_name = %s", CANARY_ID, CANARY
    )
    assert kept[0][0] >= 1


def database_refuses(night: Night) -> str:
    """What is said when PostgreSQL refuses a row of the vault: its own words would quote the row."""
    row = {**golden("pupil", 2)[1], "姓名": CANARY, "班级": "09"}
    night.csv("pupil", [*golden("pupil", 1), row], NAMES["pupil"].replace("20161020", "20161120"))
    with connect("admin", night.config) as conn:
        conn.execute(
            "alter table vault.person_identity add constraint no_canary check (person_name is distinct from"
            f" '{CANARY}' or first_load_id < (1 << 30)) not valid"
        )
        conn.execute("alter table vault.person_identity drop constraint no_canary")
        conn.execute(
            "create function vault.refuse() returns trigger language plpgsql as $$ begin"
            " raise exception 'refused' using errcode = 'check_violation', detail = new::text; end $$"
        )
        conn.execute(
            "create trigger refuse before insert on vault.person_identity for each row execute function vault.refuse()"
        )
        conn.execute("delete from vault.person_identity where identifier = %s", (row["证件号码"],))
    try:
        with pytest.raises(psycopg.errors.CheckViolation) as refused:
            ingest.load_feed("pupil", night.root, night.contracts, night.config)
    finally:
        with connect("admin", night.config) as conn:
            conn.execute("drop trigger refuse on vault.person_identity")
            conn.execute("drop function vault.refuse()")
    error = refused.value
    said = "".join(traceback.format_exception(error, chain=True)) + repr(error) + str(error)
    assert "23514" in said
    assert "feed pupil" in said
    assert row["证件号码"] not in said
    return said + str(error.__context__) + str(error.__cause__)


def files_left_behind(night: Night) -> dict[str, str]:
    """Files of the home, without PostgreSQL's tables (the vault is one of them), and the server's log."""
    state = read_state(night.config)
    assert state is not None
    data = Path(state.data_dir)
    logs = [data / "server.log", *(data / "log").iterdir()]
    found = {log.name: log.read_text(encoding="utf-8", errors="replace") for log in logs}
    for path in night.config.home.rglob("*"):
        if path.is_file() and not path.is_relative_to(data):
            found[str(path)] = path.read_bytes().decode("utf-8", errors="replace")
    return found


def test_a_process_of_its_own_says_nothing_either(night: Night) -> None:
    for feed in ("pupil", "poor_person"):
        night.csv(feed, planted(feed))
        for suffix, content in broken_files(feed):
            night.raw(NAMES[feed].replace(".csv", f"{suffix}.csv"), content)
    code = (
        "import logging, sys\nfrom pathlib import Path\nimport ingest\nfrom warehouse.config import WarehouseConfig\n"
        "logging.basicConfig(level=logging.DEBUG)\nhome = Path(sys.argv[2])\n"
        "config = WarehouseConfig(home=home, secrets_dir=home / 'secrets', durable=False)\n"
        "for feed in ('pupil', 'poor_person'):\n"
        "    report = ingest.load_feed(feed, Path(sys.argv[1]), ingest.load_contracts(), config, print)\n"
        "    print(report, report.to_json(), *report.rejections, sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code, str(night.root), str(night.config.home)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        check=False,
    )
    output = io.BytesIO(done.stdout + done.stderr).read().decode("utf-8", errors="replace")
    assert done.returncode == 0, output[-2000:]
    assert "quarantined" in output
    assert_clean("output of the loader", output)


def test_masks_and_shapes_hold_no_needle() -> None:
    contracts: dict[str, Any] = ingest.load_contracts()
    from ingest.columns import masked

    for contract in contracts.values():
        for column in contract.columns:
            for content in (CANARY, CANARY_ID, f"{CANARY}{CANARY_ID}", f"1{CANARY_ID}", "13812345678"):
                shown = masked(content, column)
                assert_clean(f"{contract.feed}.{column.name}", shown)
                assert "12345678" not in shown
