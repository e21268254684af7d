"""A backup restores into a fresh server with rows, roles and rights; a damaged one, or a place in use, is refused."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import make_warehouse
from tests.warehouse.test_release import build_candidate, judge, publish
from warehouse.backup import (
    ABOUT,
    DUMP,
    Backup,
    BackupError,
    backups_folder,
    create,
    drill,
    list_backups,
    prune,
    read_backup,
    restore,
    rights_of,
)
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.seal import rotate_key
from warehouse.server import stop
from warehouse.verify import verify


@pytest.fixture(scope="module")
def live() -> Iterator[WarehouseConfig]:
    """A warehouse with a release signed by a key that was rotated since, and one more under another key."""
    home = Path(tempfile.mkdtemp(prefix="edupa-backup-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    try:
        build_candidate(config, 70.0)
        judge(config)
        assert publish(config, 2019) == ("published", "2019.1.0")
        rotate_key(config)
        build_candidate(config, 71.0, years=(2019, 2020))
        judge(config)
        assert publish(config, 2020) == ("published", "2020.1.0")
        yield config
    finally:
        stop(config, mode="immediate")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def backup(live: WarehouseConfig) -> Backup:
    """A backup taken while a release is being published; verifying meanwhile finds nothing either."""
    build_candidate(live, 72.0, years=(2019, 2020))
    judge(live)
    with ThreadPoolExecutor() as at_once:
        publishing = at_once.submit(publish, live, 2020)
        backing_up = at_once.submit(create, live)
        while not (publishing.done() and backing_up.done()):
            assert verify(live)[1] == []
        assert publishing.result() == ("published", "2020.2.0")
        made = backing_up.result()
    return made


def test_a_drill_restores_rows_hashes_signatures_and_rights(live: WarehouseConfig, backup: Backup) -> None:
    done = drill(live)
    assert done.backup.folder == backup.folder
    assert done.verification.findings == []
    assert done.verification.keys_from == "files"
    assert set(done.verification.releases) == set(backup.about["releases"]) >= {"2019.1.0", "2020.1.0"}
    with connect("admin", live) as conn:
        rights = rights_of(conn)
    assert any("to edupa_bi" in line for line in rights)
    assert done.rights > 300
    assert not list(Path(tempfile.gettempdir()).glob("edupa-pgpass-*"))


def test_a_backup_is_for_its_owner_only_and_holds_no_password(live: WarehouseConfig, backup: Backup) -> None:
    assert backup.folder.stat().st_mode & 0o777 == 0o700
    assert (backup.folder / DUMP).stat().st_mode & 0o777 == 0o600
    text = (backup.folder / "roles.sql").read_text()
    assert "CREATE ROLE edupa_sealed" in text
    assert "PASSWORD" not in text.replace("NOPASSWORD", "")
    assert "SCRAM" not in text


def test_a_place_in_use_is_left_alone(live: WarehouseConfig, backup: Backup) -> None:
    with pytest.raises(BackupError, match="is not empty"):
        restore(live, backup.folder)
    other = WarehouseConfig(home=live.home, secrets_dir=live.secrets_dir, database="another", durable=False)
    with pytest.raises(BackupError, match="set EDUPA_DATABASE=edupa"):
        restore(other, backup.folder)
    assert verify(live)[1] == []


def test_a_damaged_backup_is_refused(live: WarehouseConfig, backup: Backup, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(backup.folder, copy)
    with (copy / DUMP).open("r+b") as handle:
        handle.seek(-1, 2)
        last = handle.read(1)
        handle.seek(-1, 2)
        handle.write(bytes([last[0] ^ 1]))
    with pytest.raises(BackupError, match="damaged"):
        read_backup(copy)
    (copy / DUMP).unlink()
    with pytest.raises(BackupError, match="is missing"):
        read_backup(copy)
    about = json.loads((copy / ABOUT).read_text())
    (copy / ABOUT).write_text(json.dumps({**about, "format": "edupa-backup-9"}))
    with pytest.raises(BackupError, match="format 'edupa-backup-9'"):
        read_backup(copy)
    with pytest.raises(BackupError, match="is no backup"):
        read_backup(tmp_path)


def test_a_failed_backup_leaves_nothing_and_old_ones_are_pruned(
    live: WarehouseConfig, backup: Backup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import warehouse.backup as module

    with monkeypatch.context() as patch:
        patch.setattr(module, "_program", lambda config, name: shutil.which("false"))
        with pytest.raises(BackupError, match="false failed"):
            create(live, tmp_path / "place")
    assert list((tmp_path / "place").iterdir()) == []
    newer = create(live)
    stranger = backups_folder(live) / "not-a-backup"
    stranger.mkdir()
    assert prune(live, 0) == [backup.folder]
    assert [one.folder for one in list_backups(live)] == [newer.folder]
    assert stranger.exists()
    with pytest.raises(BackupError, match="no backup in"):
        drill(WarehouseConfig(home=tmp_path, secrets_dir=tmp_path))
