"""Open zip and gzip archives from strangers: nothing outside, nothing nested, nothing without a bound."""

from __future__ import annotations

import gzip
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ingest.names import base_name
from ingest.problems import FileRejectedError

MAX_MEMBERS = 5000
MAX_UNPACKED_BYTES = 8 * 1024**3
#: no real table packs so well; small members may
MAX_RATIO = 300
SMALL_MEMBER_BYTES = 10 * 1024**2
NESTED = (".zip", ".gz", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".zst")
_BLOCK = 1024 * 1024
#: first bytes of archives; a workbook is a zip too and known by its name
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"7z\xbc\xaf": "7z", b"Rar!": "rar", b"\xfd7zXZ": "xz"}


def _unsafe(text: str, text_zh: str) -> FileRejectedError:
    return FileRejectedError("file.zip_unsafe", text, detail_zh=text_zh)


def _damaged(text: str, text_zh: str) -> FileRejectedError:
    return FileRejectedError("file.damaged", text, detail_zh=text_zh)


def _member_name(info: zipfile.ZipInfo) -> str:
    """Name of an archive's member; without the UTF-8 flag Chinese Windows wrote GB18030."""
    if info.flag_bits & 0x800:
        return info.filename
    raw = info.filename.encode("cp437", errors="replace")
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename


def leads_outside(name: str) -> bool:
    """Whether a relative name would leave the folder that it is relative to."""
    normal = name.replace("\\", "/")
    parts = PurePosixPath(normal).parts
    return normal.startswith("/") or ".." in parts or (bool(parts) and ":" in parts[0])


def safe_members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Members of a zip archive by name.

    Raises:
        FileRejectedError: file.damaged, or file.zip_unsafe for a path outside, a nested archive, a password, a link, a
            bomb, members that overlap, or two members of one name.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise _damaged(f"not a readable zip archive ({type(error).__name__})", "不是可读的zip压缩包") from None
    if len(infos) > MAX_MEMBERS:
        raise _unsafe(f"more than {MAX_MEMBERS} members", f"文件数超过{MAX_MEMBERS}")
    if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise _unsafe("it unpacks to an unreasonable size", "解压后过大")
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise _unsafe("its members overlap", "成员数据重叠")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = _member_name(info).replace("\\", "/")
        if info.is_dir():
            continue
        if leads_outside(name):
            raise _unsafe("a member's path leads outside the archive", "成员路径越出压缩包")
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise _unsafe("a member is a symbolic link", "成员是符号链接")
        if name.lower().endswith(NESTED):
            raise _unsafe("an archive inside the archive", "压缩包内含压缩包")
        if info.flag_bits & 0x1:
            raise _unsafe("it is protected by a password", "压缩包有密码")
        if info.file_size > SMALL_MEMBER_BYTES and info.file_size > MAX_RATIO * max(1, info.compress_size):
            raise _unsafe("a member unpacks to an unreasonable size", "成员解压后过大")
        if name in members:
            raise _unsafe("two members have one name", "成员重名")
        members[name] = info
    return members


@contextmanager
def unpacked_member(path: Path, member: str) -> Iterator[Path]:
    """A member of a zip archive in a private folder that is removed afterwards.

    Raises:
        FileRejectedError: the archive is damaged or unsafe, or has no such member.
    """
    info = safe_members(path).get(member)
    if info is None:
        raise _damaged("the archive has no such member", "压缩包中无此文件")
    with tempfile.TemporaryDirectory(prefix="edupa-") as folder:
        target = Path(folder) / base_name(member)
        try:
            with zipfile.ZipFile(path) as archive, archive.open(info) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, _BLOCK)
        except (zipfile.BadZipFile, OSError, RuntimeError, EOFError, zlib.error) as error:
            raise _damaged(f"the member cannot be unpacked ({type(error).__name__})", "成员无法解压") from None
        yield target


def gzip_member(name: str) -> str:
    """Name of the one file in a gzip archive: that of the archive without ``.gz``.

    Raises:
        FileRejectedError: file.zip_unsafe for a nested archive.
    """
    inner = base_name(name)[: -len(".gz")]
    if inner.lower().endswith(NESTED):
        raise _unsafe("an archive inside the archive", "压缩包内含压缩包")
    return inner


def check_gzip(path: Path) -> None:
    """Look at the first bytes of a gzip archive.

    Raises:
        FileRejectedError: file.damaged, or file.zip_unsafe for a header that names a path.
    """
    with path.open("rb") as handle:
        start = handle.read(4096)
    if not start.startswith(b"\x1f\x8b\x08") or len(start) < 18:
        raise _damaged("not a readable gzip archive", "不是可读的gzip压缩包")
    flags, at = start[3], 10
    if flags & 0x04:
        at += 2 + struct.unpack_from("<H", start, at)[0]
    if flags & 0x08:
        written = start[at : start.find(b"\0", at)]
        if b"/" in written or b"\\" in written or written == b"..":
            raise _unsafe("its header names a path", "文件头含路径")


@contextmanager
def unpacked_gzip(path: Path, member: str) -> Iterator[Path]:
    """The file in a gzip archive, in a private folder that is removed afterwards.

    Args:
        path: the archive.
        member: name for what is in it; a header's name is not used.

    Raises:
        FileRejectedError: the archive is damaged or truncated, a bomb, or holds another archive.
    """
    check_gzip(path)
    packed = path.stat().st_size
    with tempfile.TemporaryDirectory(prefix="edupa-") as folder:
        target = Path(folder) / base_name(member)
        size = 0
        try:
            with gzip.open(path) as source, target.open("wb") as out:
                while block := source.read(_BLOCK):
                    if not size and (kind := next((k for magic, k in _MAGIC.items() if block.startswith(magic)), None)):
                        raise _unsafe(f"an archive inside the archive ({kind})", f"压缩包内含压缩包（{kind}）")
                    size += len(block)
                    if size > MAX_UNPACKED_BYTES or (size > SMALL_MEMBER_BYTES and size > MAX_RATIO * packed):
                        raise _unsafe("it unpacks to an unreasonable size", "解压后过大")
                    out.write(block)
        except (OSError, EOFError, zlib.error) as error:
            raise _damaged(f"the archive cannot be unpacked ({type(error).__name__})", "压缩包无法解压") from None
        yield target
