"""Find the files of every feed, wherever they lie, and open them safely.

The extract root is the default source; a feed for which the environment names another one (see transport.py) is read
from there instead. Archives are looked into, companions (manifests, ``.done`` files) are read and not loaded, and
what is unfinished waits.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from ingest.archives import check_gzip, gzip_member, safe_members, unpacked_gzip, unpacked_member
from ingest.arrival import (
    DONE_SUFFIX,
    PARTIAL_SUFFIXES,
    Candidate,
    Looks,
    Offer,
    judge,
    policy_of,
    read_json,
    write_json,
)
from ingest.contract import Contract
from ingest.manifest import MAX_BYTES, ManifestEntry, entries_by_file, is_manifest, read_manifest
from ingest.names import MEMBER, base_name, parse_name
from ingest.problems import FileRejectedError, Rejection
from ingest.transport import (
    Entry,
    FileGrowingError,
    Source,
    SourceError,
    SourceSettingsError,
    read_settings,
    timed_version,
)
from warehouse.config import WarehouseConfig

__all__ = [
    "Discovery",
    "Entry",
    "FileGrowingError",
    "Intake",
    "LocalFiles",
    "Source",
    "SourceError",
    "SourceSettingsError",
    "discover",
    "file_sha256",
    "opened",
    "safe_members",
]

#: archives kept unpacked from a remote source while an intake is open
MAX_SPOOLED = 4
#: a file that was written so recently is fetched again where only its time of change tells versions apart
FRESH_SECONDS = 60.0


@dataclass(frozen=True)
class Discovery:
    """What the sources hold.

    Attributes:
        offered: feed -> relative names in the order in which they are to be loaded.
        unrecognized: names that no contract recognizes; with the source's label unless it is the extract root.
        refused: archives and links that were not opened.
        waiting: unfinished files, left for the next run.
        not_arrived: feed -> names that a manifest announces and that are not there.
        elsewhere: files in one source that belong to a feed which is read from another.
        unreachable: why sources could not be listed; the others were.
    """

    offered: dict[str, tuple[str, ...]]
    unrecognized: tuple[str, ...]
    refused: tuple[Rejection, ...]
    waiting: tuple[str, ...]
    not_arrived: dict[str, tuple[str, ...]] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()


class LocalFiles:
    """The files below a folder. Hidden files and folders are not ours; a link that leads outside is not followed."""

    label = ""
    settle = 0.0

    def __init__(self, root: Path) -> None:
        """Remember the folder; it need not exist."""
        self.root = root
        self.refused: tuple[Rejection, ...] = ()

    def entries(self) -> tuple[Entry, ...]:
        """Every file below the folder; ``refused`` then holds the links that lead outside."""
        entries, refused = [], []
        resolved = self.root.resolve()
        # plain strings: every feed lists the whole folder, and a path object costs more than looking at its file
        top = len(os.path.join(self.root, ""))  # noqa: PTH118
        found = (os.path.join(folder, file)[top:] for folder, _, files in os.walk(self.root) for file in files)  # noqa: PTH118
        for name in sorted(found, key=lambda name: name.split("/")):
            path = self.root / name
            if _is_ignored(name) or not path.is_file():
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(resolved):
                error = FileRejectedError("file.name", "a link that leads outside", detail_zh="指向目录之外的链接")
                refused.append(error.rejection(name))
                continue
            try:
                entries.append(self.stat(name))
            except FileRejectedError:
                continue  # gone since the folder was read
        self.refused = tuple(refused)
        return tuple(entries)

    def stat(self, name: str) -> Entry:
        """A file as it is now.

        Raises:
            FileRejectedError: it is gone.
        """
        try:
            facts = (self.root / name).stat()
        except OSError:
            raise FileRejectedError("file.damaged", "it is no longer there", detail_zh="文件已不存在") from None
        return Entry(name, facts.st_size, facts.st_mtime, f"{facts.st_size} bytes at {facts.st_mtime_ns}")

    @contextmanager
    def fetch(self, entry: Entry) -> Iterator[Path]:
        """The file itself.

        Raises:
            FileRejectedError: it is gone.
            FileGrowingError: it is not what was listed.
        """
        now = self.stat(entry.name)
        if entry.version is not None and now.version != entry.version:
            raise FileGrowingError(f"it had {entry.size} bytes when it was listed, {now.size} when it was opened")
        yield self.root / entry.name

    def close(self) -> None:
        """Nothing is open."""


def _is_ignored(name: str) -> bool:
    parts = name.split("/")
    return any(part.startswith((".", "__MACOSX")) for part in parts) or parts[-1].startswith("~$")


def _order(name: str, contract: Contract) -> tuple[int, object, str]:
    """Load order: a period after the other, within it by extract; misnamed files first, they land nothing."""
    try:
        parsed = parse_name(name, contract)
    except FileRejectedError:
        return (0, 0, name)
    return (1, (parsed.facts.get("period", 0), parsed.rank), name)


@dataclass
class _Shelf:
    """One source, listed: its data files, and what lies beside them."""

    source: Source
    carriers: dict[str, Entry] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    manifests: dict[str, tuple[ManifestEntry, ...]] = field(default_factory=dict)
    refused: list[Rejection] = field(default_factory=list)
    entries: dict[str, ManifestEntry] = field(default_factory=dict)

    def full_name(self, name: str) -> str:
        return f"{self.source.label.rstrip('/')}/{name}" if self.source.label else name


class Intake:
    """All sources of all feeds; use it as a context, so that connections and temporary files go away."""

    def __init__(
        self,
        root: Path,
        contracts: dict[str, Contract],
        config: WarehouseConfig | None = None,
        environ: Mapping[str, str] = os.environ,
        feeds: Collection[str] | None = None,
    ) -> None:
        """Read the settings; nothing is listed or connected to yet.

        Args:
            root: the extract root; need not exist.
            contracts: all contracts.
            config: knows the folders of secrets and of earlier looks; None: neither is used.
            environ: the environment.
            feeds: those that will be asked for, so that a mistake in another's settings does not hold them up.

        Raises:
            SourceSettingsError: the settings of a source are wrong.
        """
        self.root = root
        self.contracts = contracts
        self._home = config.home if config else None
        self._local: Source = LocalFiles(root)
        self._sources: dict[str, Source] = {}
        self._shelves: dict[int, _Shelf] = {}
        self._spooled: dict[tuple[int, str], tuple[Path, ExitStack]] = {}
        self._bound: set[str] = set()
        self._known: dict[str, dict[str, Any]] = {}
        self._unwritten: set[str] = set()
        shared: dict[tuple[object, ...], Source] = {}
        for feed, settings in read_settings(contracts, config, environ, feeds).items():
            if settings.scheme == "database":
                from ingest.transport_database import DatabaseRows

                self._sources[feed] = DatabaseRows(settings, contracts[feed])
                self._bound.add(feed)
                continue
            from ingest.transport_files import RemoteFiles

            key = (settings.url, tuple(sorted(settings.options.items())), settings.limits)
            self._sources[feed] = shared.setdefault(key, RemoteFiles(settings))

    def __enter__(self) -> Intake:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop connections and temporary files; keep what was fetched in mind."""
        if self._home is not None:
            for feed in self._unwritten:
                write_json(self._home / "arrivals" / f"{feed}.fetched.json", self._known[feed])
        self._unwritten.clear()
        for _, stack in self._spooled.values():
            stack.close()
        self._spooled.clear()
        for source in {id(source): source for source in self._sources.values()}.values():
            source.close()

    def source_of(self, feed: str) -> Source:
        """Where a feed's files come from."""
        return self._sources.get(feed, self._local)

    def _shelf(self, source: Source) -> _Shelf:
        """A source's listing, made once per intake."""
        if (found := self._shelves.get(id(source))) is not None:
            return found
        shelf = _Shelf(source)
        for entry in source.entries():
            if _is_ignored(entry.name):
                continue
            shelf.carriers[entry.name] = entry
            suffix = PurePosixPath(entry.name).suffix.lower()
            if suffix in PARTIAL_SUFFIXES:
                shelf.partial.append(entry.name)
            elif suffix == DONE_SUFFIX:
                shelf.done.add(entry.name[: -len(DONE_SUFFIX)])
            elif suffix in (".zip", ".gz"):
                shelf.data += self._members(shelf, entry, suffix)
            else:
                shelf.data.append(entry.name)
        shelf.refused += getattr(source, "refused", ())
        for name in [name for name in shelf.data if is_manifest(name)]:
            shelf.data.remove(name)
            shelf.manifests[name] = self._read_manifest(shelf, name)
        shelf.entries = entries_by_file(shelf.manifests, set(shelf.data))
        self._shelves[id(source)] = shelf
        return shelf

    def _members(self, shelf: _Shelf, entry: Entry, suffix: str) -> list[str]:
        """Names of an archive's files; a refused archive has none."""
        try:
            if suffix == ".gz":
                inner = gzip_member(entry.name)
                # what lies afar is not fetched before it is loaded
                if shelf.source is self._local:
                    check_gzip(self.root / entry.name)
                return [f"{entry.name}{MEMBER}{inner}"]
            with self._carrier(shelf, entry.name) as path:
                names = list(safe_members(path))
        except FileRejectedError as error:
            shelf.refused.append(error.rejection(shelf.full_name(entry.name)))
            return []
        except FileGrowingError:
            shelf.partial.append(entry.name)
            return []
        return [f"{entry.name}{MEMBER}{name}" for name in names if not _is_ignored(name)]

    def _read_manifest(self, shelf: _Shelf, name: str) -> tuple[ManifestEntry, ...]:
        try:
            with self._open(shelf, name) as path:
                if path.stat().st_size > MAX_BYTES:
                    return read_manifest(b" " * (MAX_BYTES + 1), name)
                return read_manifest(path.read_bytes(), name)
        except FileGrowingError:
            return ()

    @contextmanager
    def _carrier(self, shelf: _Shelf, name: str) -> Iterator[Path]:
        """The file that travels. Archives from afar stay while the intake is open: each holds many files."""
        entry = shelf.carriers.get(name) or Entry(name)
        if shelf.source is self._local or not name.lower().endswith(".zip"):
            with shelf.source.fetch(entry) as path:
                yield path
            return
        key = (id(shelf.source), name)
        if key not in self._spooled:
            while len(self._spooled) >= MAX_SPOOLED:
                self._spooled.pop(next(iter(self._spooled)))[1].close()
            stack = ExitStack()
            self._spooled[key] = (stack.enter_context(shelf.source.fetch(entry)), stack)
        yield self._spooled[key][0]

    @contextmanager
    def _open(self, shelf: _Shelf, name: str) -> Iterator[Path]:
        carrier, is_member, member = name.partition(MEMBER)
        with ExitStack() as stack:
            path = stack.enter_context(self._carrier(shelf, carrier))
            if is_member and carrier.lower().endswith(".gz"):
                path = stack.enter_context(unpacked_gzip(path, member))
            elif is_member:
                path = stack.enter_context(unpacked_member(path, member))
            yield path

    def discover(self, feeds: Collection[str] | None = None) -> Discovery:
        """Assign every file of the sources to the feed whose stem its name starts with.

        Args:
            feeds: look only into the sources of these feeds; default: into all.

        Returns:
            Each file stands in exactly one group.

        Raises:
            SourceError: the source of a feed that was asked for cannot be listed. When all are looked into, one that
                cannot be listed is reported and the others are not held up.
        """
        wanted = list(self.contracts) if feeds is None else [feed for feed in self.contracts if feed in feeds]
        offered: dict[str, list[str]] = {feed: [] for feed in self.contracts}
        missing: dict[str, list[str]] = {}
        unrecognized, refused, waiting, elsewhere, unreachable = [], [], [], [], []
        sources = {id(source): source for source in map(self.source_of, wanted)}
        if feeds is None:
            sources.setdefault(id(self._local), self._local)
        for feed in wanted:
            if feed in self._bound:
                source = sources.pop(id(self.source_of(feed)))
                offered[feed] += [entry.name for entry in self._bound_shelf(source).carriers.values()]
        for source in sources.values():
            try:
                shelf = self._shelf(source)
            except SourceError as error:
                if feeds is not None:
                    raise
                unreachable.append(str(error))
                continue
            refused += shelf.refused
            waiting += [shelf.full_name(name) for name in shelf.partial]
            for name in shelf.data:
                feed_found = self._feed_of(name)
                if feed_found is None:
                    unrecognized.append(shelf.full_name(name))
                elif self.source_of(feed_found) is source:
                    offered[feed_found].append(name)
                else:
                    elsewhere.append(shelf.full_name(name))
            for name in shelf.entries.keys() - set(shelf.data):
                feed_found = self._feed_of(name)
                if feed_found is not None and self.source_of(feed_found) is source:
                    missing.setdefault(feed_found, []).append(name)
        ordered = {
            feed: tuple(
                sorted(found, key=lambda name, c=self.contracts[feed]: _order(name, c))  # type: ignore[misc]
                if feed in wanted
                else found
            )
            for feed, found in offered.items()
        }
        announced = {feed: tuple(sorted(names)) for feed, names in missing.items()}
        return Discovery(
            ordered,
            tuple(unrecognized),
            tuple(refused),
            tuple(waiting),
            announced,
            tuple(sorted(elsewhere)),
            tuple(unreachable),
        )

    def _bound_shelf(self, source: Source) -> _Shelf:
        if id(source) not in self._shelves:
            self._shelves[id(source)] = _Shelf(source, {entry.name: entry for entry in source.entries()})
        return self._shelves[id(source)]

    def _feed_of(self, name: str) -> str | None:
        base = base_name(name)
        return next((feed for feed, contract in self.contracts.items() if contract.stem.match(base)), None)

    def offer(self, feed: str) -> Offer:
        """The files of a feed that may be loaded now, and those that have to wait; counts as a look.

        Raises:
            SourceError: the source cannot be listed.
        """
        contract, source = self.contracts[feed], self.source_of(feed)
        found = self.discover((feed,))
        shelf = self._shelves[id(source)]
        candidates = [self._candidate(shelf, name) for name in found.offered[feed]]
        candidates += [
            self._candidate(shelf, name, is_partial=True)
            for name in shelf.partial
            if self._feed_of(name) == feed and name not in found.offered[feed]
        ]
        looks = Looks.read(self._home, feed)

        def look_again(carrier: str) -> tuple[int | None, float | None] | None:
            try:
                entry = source.stat(carrier)
            except FileRejectedError:
                return None
            shelf.carriers[carrier] = entry
            return entry.size, entry.modified

        result = judge(candidates, policy_of(contract), looks, look_again)
        looks.write()
        result.not_arrived = found.not_arrived.get(feed, ())
        return result

    def _candidate(self, shelf: _Shelf, name: str, *, is_partial: bool = False) -> Candidate:
        carrier = name.partition(MEMBER)[0]
        entry = shelf.carriers[carrier]
        if entry.size is None and shelf.source.settle > 0:
            with suppress(FileRejectedError):  # gone since it was listed; opening it says so
                entry = shelf.carriers[carrier] = shelf.source.stat(carrier)
        return Candidate(
            name,
            carrier,
            entry.size,
            entry.modified,
            shelf.source.settle,
            carrier in shelf.done or name in shelf.done,
            name in shelf.entries,
            is_partial,
        )

    def remembered(self, feed: str, name: str) -> str | None:
        """SHA-256 that a file elsewhere had when it was last fetched, if it still is that version; else None."""
        version = self._version(feed, name)
        sha, seen = self._fetched(feed).get(name, ("", ""))
        return sha if version is not None and seen == version else None

    def remember(self, feed: str, name: str, sha256: str) -> None:
        """Keep which version of a file had which content, so that it need not be fetched every night.

        It is written when the intake is closed; if that does not come to pass, files are fetched once more.
        """
        version = self._version(feed, name)
        if version is None or self._home is None or self._fetched(feed).get(name) == [sha256, version]:
            return
        self._fetched(feed)[name] = [sha256, version]
        self._unwritten.add(feed)

    def _version(self, feed: str, name: str) -> str | None:
        source = self.source_of(feed)
        if source is self._local or feed in self._bound or (shelf := self._shelves.get(id(source))) is None:
            return None
        entry = shelf.carriers.get(name.partition(MEMBER)[0])
        if entry is None or entry.version is None:
            return None
        # times of change are kept by the second: what was just written may be written again within it
        if entry.version == timed_version(entry) and time.time() - (entry.modified or 0) < FRESH_SECONDS:
            return None
        return f"{source.label} {entry.version}"

    def _fetched(self, feed: str) -> dict[str, Any]:
        if feed not in self._known:
            path = self._home / "arrivals" / f"{feed}.fetched.json" if self._home else None
            self._known[feed] = read_json(path) if path else {}
        return self._known[feed]

    def manifest_entry(self, feed: str, name: str) -> ManifestEntry | None:
        """What the sender says about a file, or None."""
        source = self.source_of(feed)
        shelf = self._bound_shelf(source) if feed in self._bound else self._shelf(source)
        return shelf.entries.get(name)

    @contextmanager
    def opened(self, name: str, feed: str | None = None) -> Iterator[Path]:
        """A path under which the file's bytes can be read for the length of the block.

        Args:
            name: relative to the feed's source; without a feed as ``discover`` names unrecognized files.
            feed: the feed that the file belongs to.

        Raises:
            FileRejectedError: it is gone, or it is an archive that is damaged or unsafe.
            FileGrowingError: it changed since it was listed.
            SourceError: it could not be fetched.
        """
        shelf = self._shelves.get(id(self.source_of(feed))) if feed else None
        if shelf is None:
            for other in self._shelves.values():
                label = other.full_name("")
                if label and name.startswith(label):
                    shelf, name = other, name.removeprefix(label)
                    break
        if shelf is None:
            shelf = _Shelf(self.source_of(feed) if feed else self._local)
            if feed and shelf.source is not self._local:
                shelf = self._shelf(shelf.source)
        with self._open(shelf, name) as path:
            yield path


def discover(root: Path | Intake, contracts: dict[str, Contract]) -> Discovery:
    """Assign every file to the feed whose stem its name starts with.

    Args:
        root: an intake, or an extract root (which need not exist; the environment is not asked then).
        contracts: all contracts.

    Returns:
        Names relative to their source; each file stands in exactly one group.
    """
    if isinstance(root, Intake):
        return root.discover()
    with Intake(root, contracts, environ={}) as intake:
        return intake.discover()


def opened(root: Path | Intake, name: str, feed: str | None = None) -> AbstractContextManager[Path]:
    """A path under which the file's bytes can be read for the length of the block.

    A member of an archive is unpacked into a private folder that is removed afterwards.

    Raises:
        FileRejectedError: the archive is damaged or unsafe, or the file is no longer there.
    """
    return (root if isinstance(root, Intake) else Intake(root, {}, environ={})).opened(name, feed)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
