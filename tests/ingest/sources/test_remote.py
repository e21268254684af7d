"""Files on a real SFTP, S3 and HTTP server, and what becomes of them when the line is bad."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import shutil
import socket
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest import FeedReport, Intake, SourceError, SourceSettingsError, load_feed
from ingest.problems import FileRejectedError
from ingest.sources import FileGrowingError
from ingest.transport import Entry, SourceTimeoutError
from ingest.transport_files import RemoteFiles
from tests.ingest.golden import PUPIL_NAME, csv_text, pupils
from tests.ingest.sources.servers import Fault, Proxy, Remote
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

Reach = Callable[..., Intake]
FOLDER = "E04_学籍"
LATER = PUPIL_NAME.replace("20161020", "20161120")
SLOW: dict[str, Any] = {"timeout": 0.7, "tries": 2}


def content(count: int = 10) -> bytes:
    return csv_text(pupils(count)).encode("gb18030")


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def load(intake: Intake, config: WarehouseConfig) -> FeedReport:
    return load_feed("pupil", intake, intake.contracts, config)


def names_in_ledger(config: WarehouseConfig) -> list[tuple[Any, ...]]:
    with connect("ingest", config) as conn:
        return conn.execute("select file_name, status, rows_landed from ledger.load order by load_id").fetchall()


def test_files_land_from_there_and_are_known_the_next_night(
    remote: Remote,
    config: WarehouseConfig,
    reach: Reach,
) -> None:
    remote.put(f"{FOLDER}/{PUPIL_NAME}", content())
    remote.put(f"{FOLDER}/{LATER}.gz", gzip.compress(content(12)))
    remote.put("packed.zip", zipped(PUPIL_NAME.replace("20161020", "20161220"), content(13)))
    remote.put(f"{FOLDER}/{PUPIL_NAME.replace('20161020', '20161221')}.part", content()[:100])
    remote.put("说明.txt", b"read me")
    remote.put("学校信息_640422_西吉县_2016_20161020.csv", b"the school feed is read from the extract root")
    with reach(remote, "pupil") as intake:
        found = intake.discover()
        assert found.unrecognized == (f"{intake.source_of('pupil').label.rstrip('/')}/说明.txt",)
        with intake.opened(found.unrecognized[0]) as path:
            assert path.read_bytes() == b"read me"
        assert [name.rpartition("/")[2] for name in found.elsewhere] == ["学校信息_640422_西吉县_2016_20161020.csv"]
        assert "pass" not in repr(intake.source_of("pupil").label)
        report = load(intake, config)
    assert [(file.status, file.rows_landed) for file in report.files] == [("landed", 10), ("landed", 2), ("landed", 1)]
    assert [item.file.rpartition(".")[2] for item in report.waiting] == ["part"]
    assert names_in_ledger(config)[1] == (f"{FOLDER}/{LATER}.gz!{LATER}", "landed", 2)
    with reach(remote, "pupil") as intake:
        again = load(intake, config)
    assert [file.status for file in again.files] == ["same_content"] * 3
    assert again.waiting[0].looks == 2


def test_a_cut_connection_is_tried_again(
    remote: Remote,
    config: WarehouseConfig,
    reach: Reach,
    proxy_to: Callable[[int], Proxy],
) -> None:
    remote.put(PUPIL_NAME, content(400))
    proxy = proxy_to(remote.port)
    with reach(remote, "pupil", port=proxy.port) as intake:
        intake.offer("pupil")
        proxy.fault = Fault("cut", 20_000, 1)
        report = load(intake, config)
    assert proxy.hits == 1
    assert [(file.status, file.rows_landed) for file in report.files] == [("landed", 400)]


@pytest.mark.parametrize("kind", ["freeze", "cut"])
def test_a_line_that_stays_bad_ends_in_a_named_error(
    kind: str,
    remote: Remote,
    config: WarehouseConfig,
    reach: Reach,
    proxy_to: Callable[[int], Proxy],
) -> None:
    remote.put(PUPIL_NAME, content(400))
    proxy = proxy_to(remote.port)
    with reach(remote, "pupil", port=proxy.port) as intake:
        intake.offer("pupil")
        source: Any = intake.source_of("pupil")
        source.settings = replace(source.settings, limits=replace(source.settings.limits, **SLOW))
        proxy.fault = Fault(kind, 20_000, 1000)
        began = time.monotonic()
        with pytest.raises(SourceTimeoutError if kind == "freeze" else SourceError) as caught:
            load(intake, config)
        assert time.monotonic() - began < 12
    message = str(caught.value)
    assert f"cannot fetch {PUPIL_NAME} after 2 tries" in message
    assert "EDUPA_SOURCE_PUPIL" in message
    assert ("EDUPA_TRANSFER_TIMEOUT" in message) is (kind == "freeze")
    assert "battery" not in message
    assert names_in_ledger(config) == []
    proxy.fault = None
    with reach(remote, "pupil", port=proxy.port) as intake:
        assert load(intake, config).total("rows_landed") == 400


def test_a_server_that_is_not_there_is_named(
    remote: Remote,
    config: WarehouseConfig,
    reach: Reach,
    proxy_to: Callable[[int], Proxy],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        reach(remote, "pupil", port=port, **SLOW) as intake,
        pytest.raises(SourceError, match=r"EDUPA_SOURCE_PUPIL.*cannot list files after 2 tries"),
    ):
        intake.discover(("pupil",))


def test_a_wrong_secret_is_not_tried_again(
    servers: dict[str, Remote],
    config: WarehouseConfig,
    reach: Reach,
) -> None:
    for scheme, secret in (
        ("sftp", f"password: wrong\nknown_hosts: {servers['sftp'].known_hosts}\n"),
        ("http", "bearer: wrong\n"),
    ):
        with (
            reach(replace(servers[scheme], secret=secret), "pupil", tries=50) as intake,
            pytest.raises(SourceError) as caught,
        ):
            intake.discover(("pupil",))
        assert "wrong" not in str(caught.value)
        assert "tries" not in str(caught.value)


def test_an_unknown_host_key_is_refused(
    servers: dict[str, Remote],
    tmp_path: Path,
    config: WarehouseConfig,
    reach: Reach,
) -> None:
    other = tmp_path / "known_hosts"
    other.write_text("elsewhere ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHGvyFnzJmdLBgbFLKq1p3oZYB0XrPcFgzcbzlbbcbsd\n")
    server = replace(servers["sftp"], secret=f"password: right\nknown_hosts: {other}\n")
    with (
        reach(server, "pupil") as intake,
        pytest.raises(SourceError, match=r"HostKeyNotVerifiable|not trusted"),
    ):
        intake.discover(("pupil",))


def test_a_file_that_changes_after_it_was_listed_waits(
    remote: Remote,
    config: WarehouseConfig,
    reach: Reach,
) -> None:
    remote.put(PUPIL_NAME, content(5))
    with reach(remote, "pupil", settle=0.3) as intake:
        offer = intake.offer("pupil")
        assert offer.ready == (PUPIL_NAME,)
        remote.put(PUPIL_NAME, content(6))
        with pytest.raises(FileGrowingError), intake.opened(PUPIL_NAME, "pupil"):
            pass
        report = load(intake, config)
        assert report.files == ()
        assert report.waiting[0].reason_en == "it is still growing"
    with reach(remote, "pupil") as intake:
        assert load(intake, config).total("rows_landed") == 6


def test_a_file_that_grows_while_it_is_watched_waits(
    remote: Remote,
    config: WarehouseConfig,
    reach: Reach,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote.put(PUPIL_NAME, content(5))
    pauses: list[float] = []

    def sender_goes_on(seconds: float) -> None:
        pauses.append(seconds)
        remote.put(PUPIL_NAME, content(5 + len(pauses)))

    monkeypatch.setattr("ingest.arrival._pause", sender_goes_on)
    with reach(remote, "pupil", settle=20) as intake:
        offer = intake.offer("pupil")
    assert (offer.ready, [item.file for item in offer.waiting]) == ((), [PUPIL_NAME])
    assert pauses == [20]


def test_a_file_beyond_the_limit_is_rejected_and_the_others_are_not(
    remote: Remote,
    config: WarehouseConfig,
    reach: Reach,
) -> None:
    remote.put(PUPIL_NAME, content(3))
    remote.put(LATER, content(100))
    with reach(remote, "pupil", max_bytes=3000) as intake:
        report = load(intake, config)
    assert [file.status for file in report.files] == ["landed", "rejected"]
    assert report.rejections[0].rule == "file.too_large"


def test_damaged_archives_are_refused_there_too(
    remote: Remote,
    config: WarehouseConfig,
    reach: Reach,
) -> None:
    remote.put("a.zip", zipped("../x.csv", b"x"))
    remote.put("b.tar.gz", gzip.compress(b"x"))
    remote.put(f"{PUPIL_NAME}.gz", gzip.compress(content())[:-5])
    with reach(remote, "pupil") as intake:
        refused = {item.file.rpartition("/")[2]: item.rule for item in intake.discover().refused}
        assert refused == {"a.zip": "file.zip_unsafe", "b.tar.gz": "file.zip_unsafe"}
        report = load(intake, config)
    assert [item.rule for item in report.rejections] == ["file.damaged"]


def test_a_single_file_behind_a_url(
    servers: dict[str, Remote],
    config: WarehouseConfig,
    reach: Reach,
) -> None:
    web = servers["http"]
    assert web.folder is not None
    web.put(PUPIL_NAME, content(4))
    single = replace(web, place=f"/extracts/{PUPIL_NAME}")
    with reach(single, "pupil") as intake:
        assert load(intake, config).total("rows_landed") == 4
    (web.folder / "extracts" / PUPIL_NAME).unlink()
    with reach(single, "pupil") as intake:
        assert [item.rule for item in load(intake, config).rejections] == ["file.damaged"]


def test_a_file_that_is_gone_when_it_is_opened(
    servers: dict[str, Remote],
    config: WarehouseConfig,
    reach: Reach,
) -> None:
    sftp = servers["sftp"]
    assert sftp.folder is not None
    name = PUPIL_NAME.replace("2016_", "2015_").replace("20161020", "20151020")
    sftp.put(name, content(4))
    with reach(sftp, "pupil") as intake:
        assert name in intake.offer("pupil").ready
        (sftp.folder / "extracts" / name).unlink()
        with pytest.raises(FileRejectedError, match="no longer there"), intake.opened(name, "pupil"):
            pass


def test_a_version_that_was_fetched_before_is_not_fetched_again(
    remote: Remote, config: WarehouseConfig, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    began = int(time.time())
    copy = RemoteFiles._copy

    async def counted(self: RemoteFiles, system: Any, entry: Entry, target: Path) -> None:
        fetched.append(entry.name)
        await copy(self, system, entry, target)

    monkeypatch.setattr(RemoteFiles, "_copy", counted)
    monkeypatch.setattr("ingest.arrival._pause", lambda _: None)

    def night(count: int, *, age: float) -> str:
        if remote.folder is not None:
            os.utime(remote.folder / "extracts" / PUPIL_NAME, (began - age, began - age))
        fetched.clear()
        with reach(remote, "pupil", settle=1) as intake:
            (report,) = load(intake, config).files
        assert len(fetched) == count
        return report.status

    remote.put(PUPIL_NAME, content(4))
    assert night(1, age=7200) == "landed"
    assert night(0, age=7200) == "same_content"
    # other content of the same length
    remote.put(PUPIL_NAME, content(4).replace(b"2008-03-15", b"2008-03-16", 1))
    assert night(1, age=3600) == "rejected"
    assert night(1, age=3600) == "rejected"


def test_the_pipelines_tasks_say_what_waits_and_what_is_elsewhere(
    servers: dict[str, Remote],
    config: WarehouseConfig,
    root: Path,
    reach: Reach,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from edupa import pipeline
    from edupa.settings import Settings

    web = servers["http"]
    assert web.folder is not None
    shutil.rmtree(web.folder / "extracts", ignore_errors=True)
    web.put(PUPIL_NAME, content(4))
    web.put(LATER + ".part", b"x")
    web.put("manifest.json", json.dumps({"file": PUPIL_NAME.replace("1020", "1021")}).encode())
    (root / PUPIL_NAME).write_bytes(b"not read: pupils come from elsewhere")
    reach(web, "pupil")
    monkeypatch.setenv("EDUPA_TRANSFER_SETTLE", "0")
    monkeypatch.setenv("EDUPA_SOURCE_PUPIL", web.url())
    monkeypatch.setenv("EDUPA_SOURCE_SCHOOL", "sftp://edupa@127.0.0.1:1/x?tries=1")
    settings = Settings(config, root, config.home / "runs", 2016)
    monkeypatch.setenv("EDUPA_SOURCE_ADMIN_AREA", "nothing")
    with pytest.raises(SourceSettingsError, match="EDUPA_SOURCE_ADMIN_AREA"):
        pipeline.list_feeds(settings)
    assert pipeline.load_feed(settings, "student_event")["files"] == 0
    monkeypatch.delenv("EDUPA_SOURCE_ADMIN_AREA")
    assert "pupil" in pipeline.list_feeds(settings)[2]
    done = pipeline.load_feed(settings, "pupil")
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert done["files_landed"] == 1
    assert f"waiting {LATER}.part: its name says that it is unfinished" in said
    assert f"not arrived {PUPIL_NAME.replace('1020', '1021')}" in said
    assert f"{PUPIL_NAME}: not taken" in said
    assert "(EDUPA_SOURCE_SCHOOL): cannot list files" in said
    with pytest.raises(SourceError, match="EDUPA_SOURCE_SCHOOL"):
        pipeline.load_feed(settings, "school")


def test_file_names_in_gb18030_on_sftp(servers: dict[str, Remote], config: WarehouseConfig, reach: Reach) -> None:
    sftp = servers["sftp"]
    assert sftp.folder is not None
    shutil.rmtree(sftp.folder / "extracts", ignore_errors=True)
    (sftp.folder / "extracts").mkdir()
    path = os.fsencode(sftp.folder / "extracts") + b"/" + PUPIL_NAME.encode("gb18030")
    with open(path, "wb") as out:  # noqa: PTH123
        out.write(content(4))
    with reach(replace(sftp, options="names=gb18030"), "pupil") as intake:
        assert [file.file_name for file in load(intake, config).files] == [PUPIL_NAME]


def test_a_full_disk_of_this_machine_is_not_the_sources_fault(
    remote: Remote, config: WarehouseConfig, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: RemoteFiles, system: Any, entry: Entry, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    remote.put(PUPIL_NAME, content(4))
    monkeypatch.setattr(RemoteFiles, "_copy", full)
    with reach(remote, "pupil") as intake, pytest.raises(SourceError, match="No space left on device") as caught:
        load(intake, config)
    assert "tries" not in str(caught.value)


def test_a_bucket_that_does_not_exist(servers: dict[str, Remote], config: WarehouseConfig, reach: Reach) -> None:
    server = replace(servers["s3"], bucket="elsewhere")
    with reach(server, "pupil", tries=9) as intake, pytest.raises(SourceError, match="cannot list files: "):
        intake.offer("pupil")


def test_a_name_that_was_never_there(remote: Remote, config: WarehouseConfig, reach: Reach) -> None:
    with reach(remote, "pupil") as intake:
        report = load_feed("pupil", intake, intake.contracts, config, names=(PUPIL_NAME,))
    assert [item.rule for item in report.rejections] == ["file.damaged"]
