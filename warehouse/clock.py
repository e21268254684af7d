"""The clock of the province: days and times are those of Asia/Shanghai, whatever the zone of the machine."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Asia/Shanghai")


def now() -> datetime:
    """This moment in the province's zone."""
    return datetime.now(ZONE)


def today() -> date:
    """The day it is in the province: until 08:00 there, a machine that runs on UTC is still at the day before."""
    return now().date()
