"""What a load did, as small values that may travel through XCom: counts, names and rules, nothing personal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ingest.arrival import Waiting
from ingest.problems import Rejection

Status = Literal["landed", "unchanged", "rejected", "same_content", "checked"]


@dataclass(frozen=True)
class LoadReport:
    """What became of one file.

    ``rows_in`` = landed + unchanged + quarantined + exact duplicates. ``same_content``: known, nothing was done.
    ``checked``: a dry run, in which rows_landed counts the rows that would be good.
    """

    feed: str
    file_name: str
    status: Status
    file_sha256: str = ""
    load_id: int | None = None
    rows_in: int = 0
    rows_landed: int = 0
    rows_unchanged: int = 0
    rows_quarantined: int = 0
    rows_exact_duplicate: int = 0
    rows_ended: int = 0
    rows_skipped: int = 0
    encoding: str | None = None
    sheet: str | None = None
    scopes: tuple[dict[str, str], ...] = ()
    quarantined_by_rule: dict[str, int] = field(default_factory=dict)
    normalizations: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    rejection: Rejection | None = None
    is_repeated: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class FeedReport:
    """What became of all files of a feed.

    ``waiting``: files that are not complete yet. ``not_arrived``: files that a manifest announces and that were neither
    found nor loaded before.
    """

    feed: str
    files: tuple[LoadReport, ...]
    seconds: float
    waiting: tuple[Waiting, ...] = ()
    not_arrived: tuple[str, ...] = ()

    def count(self, status: Status) -> int:
        """Files with a status."""
        return sum(file.status == status for file in self.files)

    def total(self, what: str) -> int:
        """Sum of one of the row counts over files, e.g. ``rows_landed``."""
        return sum(int(getattr(file, what)) for file in self.files)

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """Why files were rejected."""
        return tuple(file.rejection for file in self.files if file.rejection)

    def to_json(self) -> dict[str, Any]:
        """Totals and rejections as plain JSON types; small enough for XCom whatever the number of files."""
        return {
            "feed": self.feed,
            "seconds": round(self.seconds, 3),
            "files": len(self.files),
            **{f"files_{s}": self.count(s) for s in ("landed", "unchanged", "rejected", "same_content")},  # type: ignore[arg-type]
            **{
                name: self.total(name)
                for name in (
                    "rows_in",
                    "rows_landed",
                    "rows_unchanged",
                    "rows_quarantined",
                    "rows_exact_duplicate",
                    "rows_ended",
                    "rows_skipped",
                )
            },
            "rejections": [rejection.to_json() for rejection in self.rejections[:50]],
            "warnings": [warning for file in self.files for warning in file.warnings][:50],
            "waiting": [asdict(item) for item in self.waiting[:50]],
            "not_arrived": list(self.not_arrived[:50]),
        }
