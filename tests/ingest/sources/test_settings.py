"""Where a feed's files come from is said by the environment; secrets stand in files or Airflow connections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest import SourceSettingsError
from ingest.transport import SourceSettings, default_limits, read_settings
from warehouse.config import WarehouseConfig

FEEDS = ("pupil", "school")


@pytest.fixture
def home(tmp_path: Path) -> WarehouseConfig:
    (tmp_path / "secrets").mkdir()
    return WarehouseConfig(tmp_path, tmp_path / "secrets")


def secret(config: WarehouseConfig, content: str, name: str = "source_pupil", mode: int = 0o600) -> Path:
    path = config.secrets_dir / name
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    return path


def read(config: WarehouseConfig, **environ: str) -> SourceSettings:
    return read_settings(FEEDS, config, environ)["pupil"]


def test_without_settings_every_feed_is_read_from_the_root(home: WarehouseConfig) -> None:
    assert read_settings(FEEDS, home, {"EDUPA_EXTRACTS": "extracts", "EDUPA_SOURCE_PUPIL": " "}) == {}


def test_sftp(home: WarehouseConfig) -> None:
    secret(home, "password: 'p:w@#'\nknown_hosts: /etc/kh\n")
    found = read(home, EDUPA_SOURCE_PUPIL="sftp://us%40er@host:2222/out/going?timeout=5&tries=7&settle=0")
    assert (found.scheme, found.url, found.label) == (
        "sftp",
        "sftp://host:2222/out/going",
        "sftp://host:2222/out/going",
    )
    assert found.options == {"username": "us@er", "password": "p:w@#", "known_hosts": "/etc/kh"}
    assert (found.limits.timeout, found.limits.tries, found.limits.settle) == (5.0, 7, 0.0)
    assert "p:w" not in repr(found)


def test_s3_and_a_secret_of_another_name(home: WarehouseConfig) -> None:
    secret(home, "key: AK\nsecret: SK\n", "minio")
    found = read(
        home,
        EDUPA_SOURCE_PUPIL="s3://bucket/pre/fix?endpoint_url=https://minio:9000&region=cn",
        EDUPA_SOURCE_PUPIL_SECRET="minio",
        EDUPA_TRANSFER_TIMEOUT="2.5",
    )
    assert found.options == {"endpoint_url": "https://minio:9000", "region": "cn", "key": "AK", "secret": "SK"}
    assert found.limits.timeout == 2.5


def test_a_secret_of_one_word(home: WarehouseConfig) -> None:
    secret(home, "only-a-token\n")
    assert read(home, EDUPA_SOURCE_PUPIL="https://host/x/").options == {"bearer": "only-a-token"}
    assert read(home, EDUPA_SOURCE_PUPIL="sftp://h/x").options == {"password": "only-a-token"}


def test_a_database(home: WarehouseConfig, tmp_path: Path) -> None:
    query = tmp_path / "q.sql"
    query.write_text("select 1", encoding="utf-8")
    secret(home, "password: x\n")
    found = read(home, EDUPA_SOURCE_PUPIL="postgresql+psycopg://u@h:5433/registry", EDUPA_SOURCE_PUPIL_QUERY=str(query))
    assert (found.scheme, found.query, found.label) == ("database", "select 1", "postgresql+psycopg://h:5433/registry")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"EDUPA_SOURCE_PUPILS": "sftp://h/x"}, "there is no contract 'pupils'"),
        ({"EDUPA_SOURCE_PUPIL": "sftp://u:secret@h/x"}, "a password may not stand in the URL"),
        ({"EDUPA_SOURCE_PUPIL": "ftp://h/x"}, "scheme 'ftp' is none of sftp, s3, http, https"),
        ({"EDUPA_SOURCE_PUPIL": "sftp:///x"}, "names no host"),
        ({"EDUPA_SOURCE_PUPIL": "sftp://h/x?colour=red"}, "unknown option 'colour'"),
        ({"EDUPA_SOURCE_PUPIL": "sftp://h/x?tries=0"}, "tries must be a positive number"),
        ({"EDUPA_SOURCE_PUPIL": "sftp://h/x", "EDUPA_TRANSFER_TIMEOUT": "soon"}, "must be a positive number"),
        ({"EDUPA_SOURCE_PUPIL": "sftp://h/x", "EDUPA_SOURCE_PUPIL_SECRET": "none"}, "no file"),
        ({"EDUPA_SOURCE_PUPIL": "sqlite:///x", "EDUPA_SOURCE_PUPIL_QUERY": "none.sql"}, "_QUERY: no file"),
        ({"EDUPA_SOURCE_PUPIL": "conn://"}, "Airflow has no connection"),
    ],
)
def test_settings_that_are_wrong(environ: dict[str, str], message: str, home: WarehouseConfig) -> None:
    with pytest.raises(SourceSettingsError, match=message) as caught:
        read_settings(FEEDS, home, environ)
    assert "secret@" not in str(caught.value)


def test_a_secret_that_others_can_read_is_refused(home: WarehouseConfig) -> None:
    secret(home, "password: x\n", mode=0o640)
    with pytest.raises(SourceSettingsError, match="others may read this secret; run: chmod 600"):
        read(home, EDUPA_SOURCE_PUPIL="sftp://h/x")


def test_a_secret_with_an_unknown_part_is_refused(home: WarehouseConfig) -> None:
    secret(home, "pasword: x\n")
    with pytest.raises(SourceSettingsError, match="unknown setting 'pasword'"):
        read(home, EDUPA_SOURCE_PUPIL="sftp://h/x")


def test_a_secret_does_not_travel_in_the_clear(home: WarehouseConfig) -> None:
    secret(home, "bearer: x\n")
    with pytest.raises(SourceSettingsError, match="may not travel over http"):
        read(home, EDUPA_SOURCE_PUPIL="http://far.example/x/")
    assert read(home, EDUPA_SOURCE_PUPIL="http://127.0.0.1/x/").options == {"bearer": "x"}


def connection(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_REGISTRY", json.dumps(parts))


def test_airflow_connections(
    home: WarehouseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    password = "canary-password"
    connection(
        monkeypatch, conn_type="sftp", host="h", port=2200, login="u", password=password, extra={"key_file": "/k"}
    )
    found = read(home, EDUPA_SOURCE_PUPIL="conn://registry/out?tries=2")
    assert (found.url, found.limits.tries) == ("sftp://h:2200/out", 2)
    assert found.options == {"username": "u", "password": password, "key_file": "/k"}
    connection(
        monkeypatch,
        conn_type="aws",
        login="AK",
        password=password,
        extra={"endpoint_url": "https://m", "region_name": "r"},
    )
    found = read(home, EDUPA_SOURCE_PUPIL="conn://registry/bucket/pre/fix")
    assert (found.url.rstrip("?"), found.options["endpoint_url"], found.options["key"]) == (
        "s3://bucket/pre/fix", "https://m", "AK",
    )  # fmt: skip
    connection(monkeypatch, conn_type="http", schema="https", host="w", login="u", password=password)
    assert read(home, EDUPA_SOURCE_PUPIL="conn://registry/x/").url == "https://w/x/"
    query = tmp_path / "q.sql"
    query.write_text("select 1", encoding="utf-8")
    connection(monkeypatch, conn_type="postgres", host="d", port=5433, schema="reg", login="u", password=password)
    found = read(home, EDUPA_SOURCE_PUPIL="conn://registry", EDUPA_SOURCE_PUPIL_QUERY=str(query))
    assert (found.url, found.options) == ("postgresql+psycopg://d:5433/reg", {"username": "u", "password": password})
    printed = capfd.readouterr()
    assert password not in printed.out + printed.err


def test_limits_have_defaults() -> None:
    limits = default_limits({})
    assert (limits.timeout, limits.tries, limits.settle, limits.max_bytes) == (30.0, 3, 10.0, 8 * 1024**3)
