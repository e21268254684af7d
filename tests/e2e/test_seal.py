"""An old release comes back byte for byte: from a backup, and from landing as known then, after later loads."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from edupa.leftovers import KEPT_AFTER_RUN, as_airflow_says, maker_of, sweep
from edupa.settings import Settings
from tests.e2e.conftest import Installation, installed
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.transform import make_candidate_schema


def settings_of(installation: Installation) -> Settings:
    config = WarehouseConfig(installation.home, installation.home / "secrets", durable=False)
    return Settings(config, installation.extracts, installation.home / "runs", 2020)


def admin(installation: Installation) -> psycopg.Connection[tuple[object, ...]]:
    return connect("admin", settings_of(installation).warehouse, autocommit=True)


@pytest.fixture(scope="module")
def restored(evaluated: Installation) -> Iterator[Installation]:
    """The evaluated installation, restored from a backup into a fresh server, to be played with."""
    made = evaluated.edupa("backup", "create")
    assert made.returncode == 0, made.stderr
    folder = made.stdout.split()[0]
    with installed(evaluated.extracts) as installation:
        # the secrets that a restored warehouse needs, without the passwords
        for name in ("token_key", "release_signing_key", "rounding_key"):
            shutil.copy(evaluated.home / "secrets" / name, installation.home / "secrets" / name)
        done = installation.edupa("backup", "restore", folder)
        assert done.returncode == 0, done.stderr
        assert "2 releases" in done.stdout
        yield installation
    shutil.rmtree(folder)


def later_delivery(installation: Installation, folder: Path) -> Path:
    """The population of 2019 as sent again a year later: five more of every age, sex and county."""
    (old,) = installation.extracts.glob("E08_*/分岁人口_64_宁夏_2019_常住_annual_*.csv")
    with old.open(encoding="utf-8", newline="") as handle:
        header, *rows = csv.reader(handle)
    path = folder / "分岁人口_64_宁夏_2019_常住_annual_20210901.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([header, *([*row[:4], str(int(row[4]) + 5), *row[5:]] for row in rows)])
    return path


@pytest.mark.parametrize("fault", ["F39"], ids=lambda fault: f"fault[{fault}]")
def test_a_backup_restores_every_hash(evaluated: Installation, restored: Installation, fault: str) -> None:
    assert restored.hashes() == evaluated.hashes()
    assert len(restored.hashes()) == 2
    done = restored.edupa("release", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fault", ["F39"], ids=lambda fault: f"fault[{fault}]")
def test_landing_replayed_as_known_then_gives_identical_bytes_after_later_loads(
    restored: Installation, tmp_path: Path, fault: str
) -> None:
    core = "select max(load_id) as last_load, count(*) as loads from core.dim_source_file"
    before = restored.query(core, role="transform")
    loaded = restored.edupa("load", str(later_delivery(restored, tmp_path)))
    assert loaded.returncode == 0, loaded.stderr
    assert "0 unchanged" in loaded.stdout
    assert " 0 landed" not in loaded.stdout

    done = restored.edupa("release", "reproduce", "2019.1.0")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    sealed = "select jsonb_object_keys(table_sha256) as mart from ledger.release where release_id = '2019.1.0'"
    marts = {row["mart"] for row in restored.query(sealed, role="auditor")} - {"release_notes", "release_change"}
    assert "student_aid_county" in marts
    assert f"release 2019.1.0: identical, {len(marts)} tables" in done.stdout
    # beside everything, and gone afterwards
    assert restored.query(core, role="transform") == before
    with admin(restored) as conn:
        left = conn.execute("select nspname from pg_namespace where nspname like 'reproduce%'").fetchall()
        assert left == []
        # as known now it is another one: the comparison can fail
        conn.execute(
            "update ledger.release set as_of_load_id = (select max(load_id) from ledger.load)"
            " where release_id = '2019.1.0'"
        )
        differs = restored.edupa("release", "reproduce", "2019.1.0")
        assert differs.returncode == 1
        assert "DIFFERS county_evaluation: rows from " in differs.stdout
        assert restored.edupa("release", "verify").stdout.startswith(
            "TAMPERED 2019.1.0 ledger.release: as_of_load_id is not what the manifest says"
        )
        conn.execute(
            "update ledger.release set as_of_load_id = %s where release_id = '2019.1.0'", (before[0]["last_load"],)
        )
    assert restored.edupa("release", "verify").returncode == 0


def test_other_code_or_seeds_are_named_and_refused(restored: Installation) -> None:
    with admin(restored) as conn:
        conn.execute(
            "update ledger.release set seeds_sha256 = 'another', git_commit = 'abc' where release_id = '2020.1.0'"
        )
    refused = restored.edupa("release", "reproduce", "2020.1.0")
    assert refused.returncode == 1
    assert "was made with other seeds, code: check out commit abc" in refused.stderr
    assert "or say --anyway" in refused.stderr
    unknown = restored.edupa("release", "reproduce", "2031.1.0")
    assert "there is no release 2031.1.0" in unknown.stderr


def test_an_auditor_checks_an_exported_manifest(evaluated: Installation, tmp_path: Path) -> None:
    out, key = tmp_path / "manifest.json", tmp_path / "key.pem"
    done = evaluated.edupa("release", "manifest", "2020.1.0", "--out", str(out), "--key-out", str(key))
    assert done.returncode == 0, done.stderr
    envelope = json.loads(out.read_text(encoding="utf-8"))
    assert envelope["manifest"]["release"]["as_of_load_id"] > 0
    assert set(envelope["manifest"]["tables"]) >= {"county_evaluation", "release_notes"}
    checked = evaluated.edupa("release", "verify", "--role", "auditor", "--public-key", str(key))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    # no code of ours: the format is what docs/seal.md says
    import base64

    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key(key.read_bytes())
    signed = json.dumps(envelope["manifest"], sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    public.verify(base64.b64decode(envelope["signature"]), signed)  # type: ignore[union-attr, call-arg]


@pytest.mark.parametrize("fault", ["F35"], ids=lambda fault: f"fault[{fault}]")
def test_nightly_verification_fails_and_names_the_tampered_table(restored: Installation, fault: str) -> None:
    from edupa.housekeeping import VerificationFailed, verify_all

    table = 'releases."county_evaluation__2020_1_0"'
    with admin(restored) as conn:
        conn.execute("set session_replication_role = replica")
        conn.execute(
            f"update {table} set value = value + 0.0001 where ctid = (select min(ctid) from {table}"
            " where value is not null)".encode()
        )
    with pytest.raises(VerificationFailed, match=r"2020\.1\.0 county_evaluation__2020_1_0"):
        verify_all(settings_of(restored))
    told = restored.edupa("release", "verify", "2020.1.0")
    assert told.returncode == 1
    assert "content differs between (indicator_code " in told.stdout


def test_leftovers_of_dead_runs_are_swept_and_those_of_living_runs_are_not(restored: Installation) -> None:
    settings = settings_of(restored)
    alive, dead = maker_of("annual-2019-alive"), {**maker_of("annual-2019-dead"), "process_began": "0"}
    airflow = {**maker_of("manual__2020"), "pid": 0}
    makers = {"candidate_alive": alive, "candidate_dead": dead, "candidate_airflow": airflow, "candidate_hand": None}
    for schema, maker in makers.items():
        make_candidate_schema(settings.warehouse, schema, maker)
    with connect("transform", settings.warehouse) as conn:
        conn.execute("create schema reproduce_2019_1_0_core")
        for maker in (alive, dead, airflow):
            conn.execute(
                "insert into ledger.run (run_id, kind, parameters, status) values (%s, 'annual_evaluation', '{}',"
                " 'running')",
                (maker["run_id"],),
            )
    assert sweep(settings) == ["candidate_dead", "reproduce_2019_1_0_core"]
    assert sweep(settings, is_running=as_airflow_says(lambda run: "running")) == []
    assert sweep(settings, is_running=as_airflow_says(lambda run: "failed")) == ["candidate_airflow"]
    # those of the two releases go once nobody can want them any more
    later = datetime.now(UTC) + KEPT_AFTER_RUN + timedelta(days=1)
    assert sweep(settings, now=later) == ["candidate_annual_2019", "candidate_annual_2020"]
    with connect("transform", settings.warehouse) as conn:
        conn.execute("drop schema candidate_alive cascade; drop schema candidate_hand cascade")
