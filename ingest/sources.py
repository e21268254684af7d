"""Find files below the extract root, in plain folders and in zip archives, and open them safely."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ingest.contract import Contract
from ingest.names import MEMBER, base_name, parse_name
from ingest.problems import FileRejectedError, Rejection

MAX_MEMBERS = 5000
MAX_UNPACKED_BYTES = 8 * 1024**3
#: no real table packs so well; small members may
MAX_RATIO = 300
SMALL_MEMBER_BYTES = 10 * 1024**2
_ARCHIVES = (".zip", ".gz", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz")
#: not finished, not meant for us, or made by an office program beside the real file
_IGNORED_SUFFIXES = (".part", ".tmp", ".crdownload", ".filepart")


@dataclass(frozen=True)
class Discovery:
    """What lies below the root.

    Attributes:
        offered: feed -> relative names in the order in which they are to be loaded.
        unrecognized: relative names that no contract recognizes.
        refused: archives that were not opened.
        waiting: unfinished files, left for the next run.
    """

    offered: dict[str, tuple[str, ...]]
    unrecognized: tuple[str, ...]
    refused: tuple[Rejection, ...]
    waiting: tuple[str, ...]


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


def safe_members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Members of an archive by name.

    Raises:
        FileRejectedError: file.damaged, or file.zip_unsafe for a path outside, a nested archive, a password, a link, a
            bomb, or two members of one name.
    """

    def unsafe(text: str, text_zh: str) -> FileRejectedError:
        return FileRejectedError("file.zip_unsafe", text, detail_zh=text_zh)

    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise FileRejectedError(
            "file.damaged", f"not a readable zip archive ({type(error).__name__})", detail_zh="不是可读的zip压缩包"
        ) from None
    if len(infos) > MAX_MEMBERS:
        raise unsafe(f"more than {MAX_MEMBERS} members", f"文件数超过{MAX_MEMBERS}")
    if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise unsafe("it unpacks to an unreasonable size", "解压后过大")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = _member_name(info).replace("\\", "/")
        if info.is_dir():
            continue
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or (parts and ":" in parts[0]):
            raise unsafe("a member's path leads outside the archive", "成员路径越出压缩包")
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise unsafe("a member is a symbolic link", "成员是符号链接")
        if name.lower().endswith(_ARCHIVES):
            raise unsafe("an archive inside the archive", "压缩包内含压缩包")
        if info.flag_bits & 0x1:
            raise unsafe("it is protected by a password", "压缩包有密码")
        if info.file_size > SMALL_MEMBER_BYTES and info.file_size > MAX_RATIO * max(1, info.compress_size):
            raise unsafe("a member unpacks to an unreasonable size", "成员解压后过大")
        if name in members:
            raise unsafe("two members have one name", "成员重名")
        members[name] = info
    return members


def _is_ignored(path: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts) or path.name.startswith("~$")


def list_files(root: Path) -> tuple[list[str], list[Rejection], list[str]]:
    """Relative names of all files below the root (members of archives as ``archive.zip!member``).

    Hidden folders and files are not ours. A link that leads out of the root is not followed.

    Returns:
        Names in order, refused archives, unfinished files.
    """
    names: list[str] = []
    refused: list[Rejection] = []
    waiting: list[str] = []
    resolved = root.resolve()
    for path in sorted(root.rglob("*")):
        relative = PurePosixPath(path.relative_to(root).as_posix())
        if _is_ignored(relative) or not path.is_file():
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(resolved):
            error = FileRejectedError("file.name", "a link that leads outside", detail_zh="指向目录之外的链接")
            refused.append(error.rejection(str(relative)))
        elif path.suffix.lower() in _IGNORED_SUFFIXES:
            waiting.append(str(relative))
        elif path.suffix.lower() == ".zip":
            try:
                names += [
                    f"{relative}{MEMBER}{name}" for name in safe_members(path) if not _is_ignored(PurePosixPath(name))
                ]
            except FileRejectedError as error:
                refused.append(error.rejection(str(relative)))
        else:
            names.append(str(relative))
    return names, refused, waiting


def _order(name: str, contract: Contract) -> tuple[int, object, str]:
    """Load order: a period after the other, within it by extract; misnamed files first, they land nothing."""
    try:
        parsed = parse_name(name, contract)
    except FileRejectedError:
        return (0, 0, name)
    return (1, (parsed.facts.get("period", 0), parsed.rank), name)


def discover(root: Path, contracts: dict[str, Contract]) -> Discovery:
    """Assign every file below the root to the feed whose stem its name starts with.

    Args:
        root: the extract root; need not exist.
        contracts: all contracts.

    Returns:
        Names relative to the root; each file stands in exactly one of the four groups.
    """
    names, refused, waiting = list_files(root) if root.is_dir() else ([], [], [])
    offered: dict[str, list[str]] = {feed: [] for feed in contracts}
    unrecognized = []
    for name in names:
        base = base_name(name)
        feed = next((feed for feed, contract in contracts.items() if contract.stem.match(base)), None)
        if feed is None:
            unrecognized.append(name)
        else:
            offered[feed].append(name)
    ordered = {
        feed: tuple(sorted(found, key=lambda name, c=contracts[feed]: _order(name, c)))  # type: ignore[misc]
        for feed, found in offered.items()
    }
    return Discovery(ordered, tuple(unrecognized), tuple(refused), tuple(waiting))


@contextmanager
def opened(root: Path, name: str) -> Iterator[Path]:
    """A path under which the file's bytes can be read for the length of the block.

    A member of an archive is unpacked into a private folder that is removed afterwards.

    Raises:
        FileRejectedError: the archive is damaged or unsafe, or the file is no longer there.
    """
    archive, is_member, member = name.partition(MEMBER)
    path = root / archive
    if not is_member:
        if not path.is_file():
            raise FileRejectedError("file.damaged", "it is no longer there", detail_zh="文件已不存在")
        yield path
        return
    info = safe_members(path).get(member)
    if info is None:
        raise FileRejectedError("file.damaged", "the archive has no such member", detail_zh="压缩包中无此文件")
    with tempfile.TemporaryDirectory(prefix="edupa-") as folder:
        target = Path(folder) / base_name(member)
        try:
            with zipfile.ZipFile(path) as opened_archive, opened_archive.open(info) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, 1024 * 1024)
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
            raise FileRejectedError(
                "file.damaged", f"the member cannot be unpacked ({type(error).__name__})", detail_zh="成员无法解压"
            ) from None
        yield target


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
