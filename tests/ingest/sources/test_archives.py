"""Archives from strangers: gzip beside zip, bombs, paths, nesting."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import pytest

import ingest
from ingest import Contract, archives
from ingest.archives import check_gzip, gzip_member, leads_outside, safe_members, unpacked_gzip
from ingest.problems import FileRejectedError
from tests.ingest.golden import PUPIL_NAME, csv_text, pupils
from tests.ingest.sources.test_arrival import load
from warehouse.config import WarehouseConfig

Contracts = dict[str, Contract]


def refused(data: bytes, folder: Path) -> tuple[str, str]:
    path = folder / "a.csv.gz"
    path.write_bytes(data)
    with pytest.raises(FileRejectedError) as caught, unpacked_gzip(path, "a.csv"):
        pass
    return caught.value.rule, caught.value.detail


def test_a_gzip_file_lands(root: Path, contracts: Contracts, config: WarehouseConfig) -> None:
    data = csv_text(pupils(4)).encode("gb18030")
    # two members in a row are one file, as gzip has it
    (root / f"{PUPIL_NAME}.gz").write_bytes(gzip.compress(data[:500]) + gzip.compress(data[500:]))
    report = load(root, contracts, config)
    assert [(file.file_name, file.rows_landed) for file in report.files] == [(f"{PUPIL_NAME}.gz!{PUPIL_NAME}", 4)]
    assert load(root, contracts, config).files[0].status == "same_content"


def test_what_is_wrong_with_a_gzip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = gzip.compress(b"a,b\n" * 1000)
    assert refused(b"a,b\n", tmp_path) == ("file.damaged", "not a readable gzip archive")
    assert refused(good[:-9], tmp_path)[0] == "file.damaged"
    assert refused(good[:-8] + b"\0" * 8, tmp_path)[0] == "file.damaged"
    assert refused(good[:30] + b"\xff" * 10 + good[40:], tmp_path)[0] == "file.damaged"
    assert refused(good + b"rubbish", tmp_path)[0] == "file.damaged"
    assert refused(gzip.compress(good), tmp_path) == ("file.zip_unsafe", "an archive inside the archive (gzip)")
    monkeypatch.setattr(archives, "SMALL_MEMBER_BYTES", 1_000_000)
    assert refused(gzip.compress(b"\0" * 3_000_000), tmp_path) == (
        "file.zip_unsafe",
        "it unpacks to an unreasonable size",
    )
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 3999)
    assert refused(good, tmp_path)[1] == "it unpacks to an unreasonable size"


@pytest.mark.parametrize("name", ["../a.csv", "/etc/passwd", "..\\a.csv"])
def test_a_path_in_the_header(name: str, tmp_path: Path) -> None:
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=out) as packed:
        packed.write(b"a,b\n")
    data = bytearray(out.getvalue())
    data[3] |= 0x08
    path = tmp_path / "a.csv.gz"
    path.write_bytes(bytes(data[:10]) + name.encode() + b"\0" + bytes(data[10:]))
    with pytest.raises(FileRejectedError, match="its header names a path"):
        check_gzip(path)


def test_nested_archives_are_refused_by_name() -> None:
    for name in ("a.zip.gz", "a.tar.gz", "a.gz.gz", "x/a.7z.gz"):
        with pytest.raises(FileRejectedError, match="an archive inside the archive"):
            gzip_member(name)
    assert gzip_member("x/a.csv.GZ") == "a.csv"


def test_refused_archives_are_listed(root: Path, contracts: Contracts) -> None:
    (root / "a.tar.gz").write_bytes(gzip.compress(b"x"))
    (root / "b.csv.gz").write_bytes(b"x")
    found = ingest.discover(root, contracts)
    assert [(item.file, item.rule) for item in found.refused] == [
        ("a.tar.gz", "file.zip_unsafe"),
        ("b.csv.gz", "file.damaged"),
    ]


def test_members_that_overlap(tmp_path: Path) -> None:
    """The better zip bomb: many entries of the directory point at the same data."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.csv", b"x" * 2000)
    data = out.getvalue()
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[start:end]
    directory = b"".join(entry.replace(b"a.csv", f"{n}.csv".encode()) for n in range(5))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 5, 5, len(directory), start, 0)
    path = tmp_path / "bomb.zip"
    path.write_bytes(data[:start] + directory + tail)
    with pytest.raises(FileRejectedError, match="its members overlap"):
        safe_members(path)


def test_names_that_lead_outside() -> None:
    assert [name for name in ("a/b.csv", "a/../b", "/a", "C:\\a", "..", "a..b") if leads_outside(name)] == [
        "a/../b", "/a", "C:\\a", "..",
    ]  # fmt: skip
