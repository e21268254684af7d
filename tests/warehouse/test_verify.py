"""Whatever a superuser changes of a release is found, with the table and the rows; what is whole is passed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import make_warehouse
from tests.warehouse.test_release import PROVENANCE, SCHEMA, build_candidate, judge, publish
from warehouse.canonical import ReleaseError, canonical_sha256, hash_table
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.release import publish_candidate, rollback
from warehouse.seal import (
    SealError,
    canonical_json,
    key_id_of,
    ledger_keys,
    public_pem,
    rotate_key,
    signed_manifest,
)
from warehouse.server import stop
from warehouse.verify import Finding, verify, verify_releases

ROWS = 2500
FROZEN = "county_evaluation__2020_1_0"
KEY = "(indicator_code, variant, area_code, evaluation_year, subgroup, basis)"


def add_rows(config: WarehouseConfig) -> None:
    """Fill the candidate up to several ranges of rows, with text that csv must quote and values that are null."""
    with connect("transform", config) as conn:
        conn.execute(
            f"insert into {SCHEMA}.county_evaluation select 'C' || to_char(n, 'FM0000'), '学前', '640424', 2019, 'all',"
            " 'resident', case when n %% 7 <> 0 then n / 3.0 end, case when n %% 5 = 0 then E'a \"b\",\\n' else '' end,"
            " 'F', null, null, null from generate_series(1, %s) n",
            (ROWS - 2,),
        )


@pytest.fixture(scope="module")
def sealed() -> Iterator[WarehouseConfig]:
    """Releases 2019.1.0 (one row) and 2020.1.0 (three ranges of rows)."""
    home = Path(tempfile.mkdtemp(prefix="edupa-verify-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    try:
        build_candidate(config, 70.0)
        judge(config)
        assert publish(config, 2019) == ("published", "2019.1.0")
        build_candidate(config, 71.0, years=(2019, 2020))
        add_rows(config)
        judge(config)
        assert publish(config, 2020) == ("published", "2020.1.0")
        yield config
    finally:
        stop(config, mode="immediate")
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def tampered(config: WarehouseConfig, change: str, undo: str) -> Iterator[list[Finding]]:
    """What verify finds after a superuser's change, which is undone afterwards."""
    with connect("admin", config, autocommit=True) as conn:
        conn.execute("set session_replication_role = replica")  # a superuser can silence the triggers
        conn.execute(change.encode())
        try:
            yield verify(config)[1]
        finally:
            conn.execute(undo.encode())
    assert verify(config)[1] == []


def lines(findings: list[Finding]) -> str:
    return "\n".join(map(str, findings))


def test_whole_releases_pass(sealed: WarehouseConfig) -> None:
    done = verify_releases(sealed)
    assert done.findings == []
    assert (done.releases, done.tables, done.unsigned) == (["2019.1.0", "2020.1.0"], 6, [])
    with connect("auditor", sealed) as conn:
        ranges = signed_manifest(conn, "2020.1.0").manifest["tables"]["county_evaluation"]["ranges"]
    assert [one["rows"] for one in ranges] == [1000, 1000, 500]
    assert ranges[0]["first"][0] == "C0001"
    with pytest.raises(ReleaseError, match=r"no release 2031\.1\.0"):
        verify(sealed, ["2031.1.0"])


ONE = f"releases.{FROZEN}"


@pytest.mark.parametrize(
    ("change", "undo", "range_of", "rows"),
    [
        (
            f"update {ONE} set verdict = 'x' where indicator_code = 'C1500'",
            f"update {ONE} set verdict = E'a \"b\",\\n' where indicator_code = 'C1500'",
            ("C1001", "C2000"),
            "1000 rows now, 1000 frozen",
        ),
        (
            f"update {ONE} set value = null where indicator_code = 'C0002'",
            f"update {ONE} set value = 2 / 3.0 where indicator_code = 'C0002'",
            ("C0001", "C1000"),
            "1000 rows now, 1000 frozen",
        ),
        (
            f"create table public.kept as select * from {ONE} where indicator_code = 'C1000';"
            f"delete from {ONE} where indicator_code = 'C1000'",
            f"insert into {ONE} select * from public.kept; drop table public.kept",
            ("C0001", "C1000"),
            "999 rows now, 1000 frozen",
        ),
        (
            f"insert into {ONE} select release_id, 'Z', variant, area_code, evaluation_year, subgroup, basis, value,"
            f" verdict, conf_status, assumption_id, target_year, target_year_basis from {ONE}"
            " where indicator_code = 'C0001'",
            f"delete from {ONE} where indicator_code = 'Z'",
            ("C2001", "Z"),
            "501 rows now, 500 frozen",
        ),
    ],
    ids=["one byte", "null for a value", "row gone", "row added"],
)
def test_changed_rows_are_found_with_their_range(
    sealed: WarehouseConfig, change: str, undo: str, range_of: tuple[str, str], rows: str
) -> None:
    with tampered(sealed, change, undo) as findings:
        found, shelf = findings
        assert (found.release_id, found.table) == ("2020.1.0", FROZEN)
        assert (shelf.release_id, shelf.table) == ("2020.1.0", "releases.county_evaluation")
        assert found.first_key is not None
        assert found.last_key is not None
        assert (found.first_key[0], found.last_key[0]) == range_of
        assert rows in found.problem
        assert f"indicator_code {range_of[0]}" in found.problem


PINNED = "release_2020_1_0.county_evaluation"
COLUMNS = (
    "release_id, indicator_code, variant, area_code, evaluation_year, subgroup, basis, value, verdict, conf_status,"
    " assumption_id, target_year, target_year_basis"
)


@pytest.mark.parametrize(
    ("change", "undo", "expected"),
    [
        (
            f"comment on column {PINNED}.value is 'another'",
            f"comment on column {PINNED}.value is null",
            f"2020.1.0 {PINNED}: the comment of column value was changed",
        ),
        (
            f"comment on view {PINNED} is 'another'",
            f"comment on view {PINNED} is '县级年度评估'",
            f"2020.1.0 {PINNED}: the comment of the table was changed",
        ),
        (
            "comment on column marts.county_evaluation.value is 'another'",
            "comment on column marts.county_evaluation.value is null",
            "* marts.county_evaluation: the comment of column value was changed",
        ),
        (
            f"create or replace view {PINNED} as select {COLUMNS} from releases.county_evaluation__2019_1_0",
            f"create or replace view {PINNED} as select {COLUMNS} from {ONE}",
            f"2020.1.0 {PINNED}: the definition of the pinned view was replaced",
        ),
        (
            f"drop view {PINNED};"
            f" create view {PINNED} as select {COLUMNS.replace('value', 'value::text as value')} from {ONE}",
            f"drop view {PINNED}; create view {PINNED} as select {COLUMNS} from {ONE};"
            f" alter view {PINNED} owner to edupa_sealed;"
            f" comment on view {PINNED} is '县级年度评估'; comment on column {PINNED}.release_id is '版本号 — release';"
            f" grant select on {PINNED} to edupa_evaluator, edupa_auditor",
            f"2020.1.0 {PINNED}: the definition of the pinned view was replaced",
        ),
        (
            f"create or replace view marts.county_evaluation as select {COLUMNS} from releases.county_evaluation"
            " where release_id = (select release_id from releases.pointer) and conf_status = 'F'",
            f"create or replace view marts.county_evaluation as select {COLUMNS} from releases.county_evaluation"
            " where release_id = (select pointer.release_id from releases.pointer)",
            "* marts.county_evaluation: the definition of the permanent view was replaced",
        ),
        (
            "update releases.county_evaluation set value = 1 where indicator_code = 'C0002'",
            "update releases.county_evaluation set value = 2 / 3.0 where indicator_code = 'C0002'",
            f"2020.1.0 releases.county_evaluation: lacks 1 rows of {FROZEN} and holds 1 others",
        ),
        (
            f"insert into releases.county_evaluation select '2021.1.0', {COLUMNS.removeprefix('release_id, ')}"
            f" from {ONE} where indicator_code = 'C0002'",
            "delete from releases.county_evaluation where release_id = '2021.1.0'",
            "* releases.county_evaluation: holds 1 rows of 2021.1.0, which was never frozen",
        ),
        (
            "alter table releases.county_evaluation disable trigger late_rows",
            "alter table releases.county_evaluation enable trigger late_rows",
            "* releases.county_evaluation: the triggers that refuse change are gone or disabled",
        ),
        (
            f"alter table {ONE} disable trigger frozen_rows",
            f"alter table {ONE} enable trigger frozen_rows",
            f"2020.1.0 {FROZEN}: the triggers that refuse change are gone or disabled",
        ),
        (
            f"alter table {ONE} enable row level security",
            f"alter table {ONE} disable row level security",
            f"2020.1.0 {FROZEN}: hides rows",
        ),
        (
            "create view release_2020_1_0.more as select 1 as one",
            "drop view release_2020_1_0.more",
            "2020.1.0 release_2020_1_0.more: was not there when the release was frozen",
        ),
        (
            "update releases.pointer set release_id = '2019.1.0'",
            "update releases.pointer set release_id = '2020.1.0'",
            "2019.1.0 releases.pointer: shows 2019.1.0, but the last recorded move leads to 2020.1.0",
        ),
        (
            "update ledger.release set reason = 'another' where release_id = '2019.1.0'",
            "update ledger.release set reason = 'test' where release_id = '2019.1.0'",
            "2019.1.0 ledger.release: reason is not what the manifest says",
        ),
        (
            "update ledger.release set manifest = jsonb_set(manifest, '{release,reason}', '\"another\"'),"
            " reason = 'another' where release_id = '2019.1.0'",
            "update ledger.release set manifest = jsonb_set(manifest, '{release,reason}', '\"test\"'), reason = 'test'"
            " where release_id = '2019.1.0'",
            "2019.1.0 manifest: the signature is not that of key",
        ),
    ],
    ids=[
        "column comment", "table comment", "comment in marts", "pinned view replaced", "column type",
        "marts view replaced", "shelf changed", "shelf grown", "shelf unguarded",
        "trigger disabled", "row security", "view added",
        "pointer moved", "ledger changed", "manifest changed",
    ],
)  # fmt: skip
def test_what_readers_see_is_compared_with_the_seal(
    sealed: WarehouseConfig, change: str, undo: str, expected: str
) -> None:
    with tampered(sealed, change, undo) as findings:
        assert expected in lines(findings)


def test_a_row_under_a_wrong_release_in_the_frozen_table_is_found(sealed: WarehouseConfig) -> None:
    check = f"alter table {ONE} add constraint again check (release_id = '2020.1.0')"
    with connect("admin", sealed) as conn:
        row = conn.execute(
            "select conname from pg_constraint where contype = 'c' and conrelid = %s::regclass", (ONE,)
        ).fetchone()
    assert row
    change = (
        f"alter table {ONE} drop constraint {row[0]};"
        f" insert into {ONE} select '2019.1.0', {COLUMNS.removeprefix('release_id, ')} from {ONE}"
        " where indicator_code = 'C0002'"
    )
    undo = f"delete from {ONE} where release_id <> '2020.1.0'; {check}"
    with tampered(sealed, change, undo) as findings:
        assert "1001 rows now, 1000 frozen" in lines(findings)
        assert "its check on release_id is gone" in lines(findings)


def test_recorded_moves_of_the_pointer_are_no_finding(sealed: WarehouseConfig) -> None:
    rollback(sealed)
    assert verify(sealed)[1] == []
    rollback(sealed, "2020.1.0")
    assert verify(sealed)[1] == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DateStyle", "German"),
        ("TimeZone", "Asia/Shanghai"),
        ("extra_float_digits", "-3"),
        ("client_encoding", "GB18030"),
        ("default_transaction_read_only", "off"),
    ],
)
def test_hashes_do_not_depend_on_settings(sealed: WarehouseConfig, setting: str, value: str) -> None:
    columns = ["id", "day", "moment", "share", "name"]
    with connect("admin", sealed) as conn:
        conn.execute(
            "create temporary table odd as select * from (values"
            " (2, date '2020-09-01', timestamptz '2020-09-01 00:00+08', 0.1::float8 + 0.2, '泾源'),"
            " (1, null, '2019-01-01', 1e-7, ''), (10, 'infinity', '2021-01-01', 'NaN', null)) v (id, day, moment,"
            " share, name)"
        )
        row = conn.execute("select nspname from pg_namespace where oid = pg_my_temp_schema()").fetchone()
        assert row
        plain = canonical_sha256(conn, str(row[0]), "odd", columns, ["id"])
        conn.execute(f"set {setting} = '{value}'".encode())
        assert canonical_sha256(conn, str(row[0]), "odd", columns, ["id"]) == plain
        assert plain[1] == 3
        shown = conn.execute("select current_setting(%s)", (setting,)).fetchone()
        assert shown
        assert str(shown[0]).split(",")[0] == value


def test_a_type_without_canonical_text_is_refused(sealed: WarehouseConfig) -> None:
    with connect("admin", sealed) as conn:
        conn.execute("create schema odd; create table odd.fee (id integer primary key, fee money)")
        with pytest.raises(ReleaseError, match=r"odd\.fee\.fee is of type money"):
            hash_table(conn, "odd", "fee", ["id", "fee"], ["id"])
        conn.rollback()


def test_an_auditor_verifies_with_the_public_key_alone(sealed: WarehouseConfig, tmp_path: Path) -> None:
    with connect("auditor", sealed) as conn:
        ((key_id, key),) = ledger_keys(conn).items()
    public = tmp_path / "key.pem"
    public.write_text(public_pem(key))
    # an account with its own password and no other secret
    bare = WarehouseConfig(home=sealed.home, secrets_dir=tmp_path / "secrets", durable=False)
    bare.secrets_dir.mkdir()
    shutil.copy(sealed.secret_path("auditor"), bare.secret_path("auditor"))
    done = verify_releases(bare, public_keys=[public], reader="auditor")
    assert (done.keys_from, done.findings, done.tables) == ("files", [], 6)
    assert verify_releases(bare, reader="auditor").keys_from == "ledger"
    with tampered(
        sealed,
        f"update {ONE} set verdict = 'x' where indicator_code = 'C1500'",
        f"update {ONE} set verdict = E'a \"b\",\\n' where indicator_code = 'C1500'",
    ):
        (found,) = verify_releases(bare, public_keys=[public], reader="auditor").findings
        assert "between (indicator_code C1001" in found.problem

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    other = Ed25519PrivateKey.generate().public_key()
    public.write_text(public_pem(other))
    wrong = verify_releases(bare, ["2019.1.0"], public_keys=[public], reader="auditor").findings
    assert [str(found) for found in wrong] == [
        f"2019.1.0 manifest: signed with key {key_id}, which is not among the keys that are trusted here"
        f" ({key_id_of(other)}): put its public key into the secrets folder as release_public_key_{key_id}.pem, or name"
        " it with --public-key"
    ]
    public.write_text("no key")
    with pytest.raises(SealError, match="holds no public key"):
        verify_releases(bare, public_keys=[public], reader="auditor")
    with pytest.raises(SealError, match="cannot be read"):
        verify_releases(bare, public_keys=[tmp_path / "missing.pem"], reader="auditor")


def test_manifest_is_canonical_json_that_names_the_one_before(sealed: WarehouseConfig) -> None:
    assert canonical_json({"b": "县", "a": [1, None]}) == '{"a":[1,null],"b":"县"}'.encode()
    with connect("auditor", sealed) as conn:
        first, second = (signed_manifest(conn, name).manifest for name in ("2019.1.0", "2020.1.0"))
    assert first["previous"] is None
    assert second["previous"]["release_id"] == "2019.1.0"
    assert second["release"]["contracts_sha256"] == PROVENANCE.contracts_sha256
    assert second["gate"]["decision"] == "pass"


def test_keys_are_made_once_rotated_and_missed_and_manifests_form_a_chain(fresh_warehouse: WarehouseConfig) -> None:
    config = fresh_warehouse
    path = config.secret_path("release_signing_key")
    build_candidate(config, 70.0)
    judge(config)
    assert publish(config, 2019) == ("published", "2019.1.0")
    assert path.stat().st_mode & 0o777 == 0o600

    build_candidate(config, 71.0)
    judge(config)
    kept = path.read_text()
    path.unlink()
    with pytest.raises(SealError, match="is missing: expected file"):
        publish(config, 2019)
    with connect("auditor", config) as conn:
        assert conn.execute("select count(*) from ledger.release").fetchone() == (1,)
    path.write_text("no key")
    with pytest.raises(SealError, match="holds no unencrypted private key"):
        publish(config, 2019)
    path.write_text(kept)

    before, after = rotate_key(config)
    assert before
    assert before != after
    assert kept != path.read_text()
    assert publish(config, 2019) == ("published", "2019.2.0")
    done = verify_releases(config)
    assert (done.findings, done.keys_from) == ([], "secrets")
    # the old private key is not taken for the new one
    path.write_text(kept)
    build_candidate(config, 72.0)
    judge(config)
    with pytest.raises(SealError, match=f"holds key {before}, but releases are signed with key {after}"):
        publish_candidate(
            config, SCHEMA, evaluation_year=2019, kind="annual", reason="test", provenance=PROVENANCE, run_id="test"
        )

    # the chain of manifests: whoever deletes a release must forge the next one too
    path.unlink()
    with connect("admin", config) as conn:
        conn.execute("set session_replication_role = replica")
        conn.execute(
            "drop table releases.county_evaluation__2019_1_0, releases.release_notes__2019_1_0,"
            " releases.release_change__2019_1_0 cascade"
        )
        conn.execute("delete from releases.county_evaluation where release_id = '2019.1.0'")
        conn.execute("delete from releases.release_notes where release_id = '2019.1.0'")
        conn.execute("drop schema release_2019_1_0 cascade")
        conn.execute("update ledger.pointer_move set from_release = null")
        conn.execute("delete from ledger.pointer_move where to_release = '2019.1.0'")
        conn.execute("delete from ledger.release where release_id = '2019.1.0'")
    assert lines(verify(config)[1]) == "2019.1.0 ledger.release: gone: 2019.2.0 was frozen after it"
