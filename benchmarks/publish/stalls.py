"""How long readers were held up: their slowest statement while something was published, beside a quiet time."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[float, float]


@dataclass(frozen=True)
class Stalls:
    """Milliseconds.

    Attributes:
        baseline_ms: a reader's slowest statement in a quiet time as long as a publish, median.
        median_ms: the same while something was published, median over publishes and readers, beyond the baseline.
        p95_ms: likewise, 95th percentile.
        worst_ms: slowest statement of all while something was published.
    """

    baseline_ms: float
    median_ms: float
    p95_ms: float
    worst_ms: float


def _slowest(spans: Sequence[Span], window: Span) -> float | None:
    # a reader's statements follow each other, so that those of a window are neighbours
    first = bisect_left(spans, window[0], key=lambda span: span[1])
    behind = bisect_left(spans, window[1], key=lambda span: span[0])
    return max((end - start for start, end in spans[first:behind]), default=None)


def measure(readers: Sequence[Sequence[Span]], publishes: Sequence[Span], quiet: Span) -> Stalls:
    """Compare publishing with a quiet time.

    Args:
        readers: statements of each reader, start and end in seconds.
        publishes: start and end of each publish, seconds.
        quiet: start and end of a time without publishes, seconds.
    """
    length = statistics.median(end - start for start, end in publishes)
    windows = max(1, int((quiet[1] - quiet[0]) / length))
    calm = [(quiet[0] + number * length, quiet[0] + (number + 1) * length) for number in range(windows)]
    still = [slowest for spans in readers for window in calm if (slowest := _slowest(spans, window)) is not None]
    held = [slowest for spans in readers for window in publishes if (slowest := _slowest(spans, window)) is not None]
    baseline = statistics.median(still)
    return Stalls(
        baseline_ms=1000 * baseline,
        median_ms=1000 * max(0.0, statistics.median(held) - baseline),
        p95_ms=1000 * max(0.0, statistics.quantiles(held, n=20)[-1] - baseline),
        worst_ms=1000 * max(held),
    )
