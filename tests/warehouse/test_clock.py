"""Days are those of the province."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo

import pytest

from warehouse import clock


class _Evening(datetime):
    """Half past four in the afternoon in Greenwich."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime(2026, 11, 24, 16, 30, tzinfo=UTC).astimezone(tz)


def test_it_is_tomorrow_in_the_province_while_a_machine_on_utc_has_evening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "datetime", _Evening)
    assert clock.today() == date(2026, 11, 25)
    assert clock.now().isoformat() == "2026-11-25T00:30:00+08:00"
