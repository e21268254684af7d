"""Which offered files are complete, which have to wait, and which have waited too long.

A file waits while its name says that it is unfinished, while it grows, while the ``.done`` file that the contract asks
for is missing, or while its manifest is. How long is set by the contract::

    - property: arrival
      value: {done: false, settleSeconds: 10, maxLooks: 3, maxHours: 48}
    - property: manifest
      value: {required: true}

What was seen at earlier looks is kept in ``<home>/arrivals/<feed>.json``: names, sizes and times only.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.contract import Contract, ContractError
from ingest.problems import FileRejectedError, Rejection

#: names of files that their sender has not finished, by the end of the name
PARTIAL_SUFFIXES = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
DONE_SUFFIX = ".done"
#: a second look within one run waits no longer than this, for all files together
MAX_PAUSE_SECONDS = 60.0

_ARRIVAL_WORDS = {"done", "settleSeconds", "maxLooks", "maxHours"}
_REASONS = {
    "unfinished": ("its name says that it is unfinished", "文件名表明尚未传完"),
    "growing": ("it is still growing", "文件仍在增长"),
    "no_done": (f"its {DONE_SUFFIX} file is missing", f"缺少{DONE_SUFFIX}文件"),
    "no_manifest": ("its manifest is missing", "缺少报送清单"),
}


@dataclass(frozen=True)
class Policy:
    """What a contract says about the arrival of its files; None: no limit.

    Attributes:
        done: a file ``<name>.done`` must lie beside the file.
        settle_seconds: how long a file must have kept its size; None: what its source says.
        max_looks: looks after which a waiting file is rejected.
        max_hours: hours after the first look after which a waiting file is rejected.
        manifest_required: a file without a manifest is not taken.
    """

    done: bool = False
    settle_seconds: float | None = None
    max_looks: int | None = None
    max_hours: float | None = None
    manifest_required: bool = False


@dataclass(frozen=True)
class Waiting:
    """A file that was left for the next look."""

    file: str
    reason_en: str
    reason_zh: str
    looks: int
    since: str


@dataclass(frozen=True)
class Candidate:
    """A data file as it was listed.

    Attributes:
        name: relative name, in an archive or not.
        carrier: the file that travels: the archive, or the file itself.
        size: bytes of the carrier; None: not known.
        modified: seconds since 1970; None: not known.
        settle: seconds that the source asks for.
        has_done: the ``.done`` file is there.
        has_manifest: a manifest speaks for the file.
        is_partial: the name says that it is unfinished.
    """

    name: str
    carrier: str
    size: int | None
    modified: float | None
    settle: float
    has_done: bool
    has_manifest: bool
    is_partial: bool = False


@dataclass
class Offer:
    """The files of a feed, sorted by what is to happen.

    Attributes:
        ready: names in load order.
        waiting: left for the next look.
        overdue: rejections of files that have waited too long.
        not_arrived: names that a manifest announces and that are not there.
    """

    ready: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    overdue: tuple[Rejection, ...] = ()
    not_arrived: tuple[str, ...] = ()


def policy_of(contract: Contract) -> Policy:
    """The contract's rules of arrival.

    Raises:
        ContractError: they hold a word that means nothing.
    """
    said, manifest = contract.custom.get("arrival") or {}, contract.custom.get("manifest") or {}
    if unknown := (set(said) - _ARRIVAL_WORDS) | (set(manifest) - {"required"}):
        raise ContractError(f"{contract.path}:1: arrival or manifest: unknown word {min(unknown)!r}")
    looks, hours, settle = said.get("maxLooks"), said.get("maxHours"), said.get("settleSeconds")
    return Policy(
        bool(said.get("done", False)),
        float(settle) if settle is not None else None,
        int(looks) if looks is not None else None,
        float(hours) if hours is not None else None,
        bool(manifest.get("required", False)),
    )


@dataclass
class Looks:
    """What was seen of a feed's waiting files at earlier looks.

    Attributes:
        path: file that keeps it; None: nothing is kept.
        files: name -> {first, looks, size, modified, seen}.
    """

    path: Path | None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, home: Path | None, feed: str) -> Looks:
        """The looks of a feed; a file that cannot be read counts as none, then files wait a little longer."""
        if home is None:
            return cls(None)
        path = home / "arrivals" / f"{feed}.json"
        return cls(path, read_json(path))

    def write(self) -> None:
        """Keep the looks, all or nothing."""
        if self.path is None or (not self.files and not self.path.exists()):
            return
        write_json(self.path, self.files)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object kept in a file; empty where there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Keep a JSON object in a file, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    draft.replace(path)


def judge(
    candidates: list[Candidate],
    policy: Policy,
    looks: Looks,
    look_again: Callable[[str], tuple[int | None, float | None] | None],
    *,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] | None = None,
) -> Offer:
    """Sort candidates into ready, waiting and overdue; counts this look.

    A file that changed less than ``settle`` seconds ago is looked at a second time within this call, after a pause,
    so that a file which is complete does not lose a night.

    Args:
        candidates: in load order.
        policy: the contract's.
        looks: of earlier calls; updated.
        look_again: carrier -> size and time of change now, or None where it is gone.
        clock: seconds since 1970.
        pause: waits so many seconds; default: time passes.

    Returns:
        The offer, without ``not_arrived``.
    """
    now = clock()
    growing = _growing(candidates, policy, looks, look_again, now, pause or _pause)
    ready: list[str] = []
    waiting: list[Waiting] = []
    overdue: list[Rejection] = []
    kept: dict[str, dict[str, Any]] = {}
    for candidate in candidates:
        reason = _reason(candidate, policy, growing)
        if reason is None:
            ready.append(candidate.name)
            continue
        seen = looks.files.get(candidate.name, {})
        first, count = float(seen.get("first", now)), int(seen.get("looks", 0)) + 1
        kept[candidate.name] = {
            "first": first,
            "looks": count,
            "size": candidate.size,
            "modified": candidate.modified,
            "seen": clock(),
        }
        if limit := _overdue(policy, reason, count, (now - first) / 3600):
            overdue.append(_rejection(candidate.name, reason, limit))
        else:
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(first))
            waiting.append(Waiting(candidate.name, *_REASONS[reason], count, since))
    looks.files = kept
    return Offer(tuple(ready), tuple(waiting), tuple(overdue))


def still_growing(name: str) -> Waiting:
    """A file that changed between the look at the folder and the moment it was opened."""
    return Waiting(name, *_REASONS["growing"], 1, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def _reason(candidate: Candidate, policy: Policy, growing: set[str]) -> str | None:
    if candidate.is_partial:
        return "unfinished"
    if policy.done and not candidate.has_done:
        return "no_done"
    if candidate.carrier in growing:
        return "growing"
    if policy.manifest_required and not candidate.has_manifest:
        return "no_manifest"
    return None


def _overdue(policy: Policy, reason: str, looks: int, hours: float) -> tuple[str, str] | None:
    """The limit that is passed, in both languages; None: the file may wait."""
    if policy.max_looks is not None and looks >= policy.max_looks:
        return f"after {policy.max_looks} looks", f"已检查{policy.max_looks}次"
    if policy.max_hours is not None and hours >= policy.max_hours:
        return f"after {policy.max_hours:g} hours", f"已等待{policy.max_hours:g}小时"
    if reason == "no_manifest" and policy.max_looks is None and policy.max_hours is None:
        return "the contract demands one and grants no time", "合同要求附清单"
    return None


def _rejection(name: str, reason: str, limit: tuple[str, str]) -> Rejection:
    english, chinese = _REASONS[reason]
    rule = "manifest.missing" if reason == "no_manifest" else "file.incomplete"
    return FileRejectedError(rule, f"{english}, {limit[0]}", detail_zh=f"{chinese}，{limit[1]}").rejection(name)


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _growing(
    candidates: list[Candidate],
    policy: Policy,
    looks: Looks,
    look_again: Callable[[str], tuple[int | None, float | None] | None],
    now: float,
    pause: Callable[[float], None],
) -> set[str]:
    """Carriers that changed between two looks, or that could not be looked at twice in time."""
    unsettled: dict[str, Candidate] = {}
    wait = 0.0
    for candidate in candidates:
        settle = candidate.settle if policy.settle_seconds is None else policy.settle_seconds
        if settle <= 0 or candidate.is_partial or candidate.carrier in unsettled:
            continue
        if candidate.modified is not None and now - candidate.modified >= settle:
            continue
        seen = looks.files.get(candidate.name)
        is_same = seen is not None and (seen.get("size"), seen.get("modified")) == (candidate.size, candidate.modified)
        if is_same and seen is not None and now - float(seen.get("seen", now)) >= settle:
            continue
        unsettled[candidate.carrier] = candidate
        wait = max(wait, settle)
    if not unsettled:
        return set()
    if wait > MAX_PAUSE_SECONDS:
        return set(unsettled)
    pause(wait)
    return {
        carrier
        for carrier, candidate in unsettled.items()
        if look_again(carrier) != (candidate.size, candidate.modified)
    }
