"""Settings that are not the warehouse's own: where extracts lie and where runs leave their traces."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from warehouse.approval import DEMANDS, Demand
from warehouse.config import PROJECT_ROOT, ConfigError, WarehouseConfig, load_config

SAMPLE_SCALE = 0.02
SAMPLE_YEARS = (2015, 2020)
SAMPLE_SEED = 640000


@dataclass(frozen=True)
class Settings:
    """What a run needs to know.

    Attributes:
        warehouse: how the warehouse is reached.
        extracts: folder that is searched for extracts.
        runs: folder with one folder per run (gate pages, logs).
        evaluation_year: year up to which deliveries are expected (EDUPA_EVALUATION_YEAR).
        approval: which approval a publication needs (EDUPA_APPROVAL): none, cli, airflow.
        approval_hours: how long Airflow waits for an answer before it counts as no (EDUPA_APPROVAL_HOURS).
    """

    warehouse: WarehouseConfig
    extracts: Path
    runs: Path
    evaluation_year: int
    approval: Demand = "none"
    approval_hours: float = 72


def _approval() -> Demand:
    said = os.environ.get("EDUPA_APPROVAL") or "none"
    for demand in DEMANDS:
        if said == demand:
            return demand
    raise ConfigError(f"EDUPA_APPROVAL is {said!r}: one of {', '.join(DEMANDS)}")


def _approval_hours() -> float:
    said = os.environ.get("EDUPA_APPROVAL_HOURS") or "72"
    try:
        hours = float(said)
    except ValueError:
        hours = 0
    # two weeks: longer than that an approval would not live either
    if not 0 < hours <= 14 * 24:
        raise ConfigError(f"EDUPA_APPROVAL_HOURS is {said!r}: hours, more than 0 and at most {14 * 24}")
    return hours


def load_settings() -> Settings:
    """Settings from the environment: EDUPA_EXTRACTS, EDUPA_EVALUATION_YEAR, EDUPA_APPROVAL, EDUPA_APPROVAL_HOURS.

    Those of the warehouse come from ``load_config``.

    Raises:
        ConfigError: an approval that does not exist; a mistyped word must not mean that none is asked for.
    """
    warehouse = load_config()
    return Settings(
        warehouse=warehouse,
        extracts=PROJECT_ROOT / os.environ.get("EDUPA_EXTRACTS", "extracts"),
        runs=warehouse.home / "runs",
        evaluation_year=int(os.environ.get("EDUPA_EVALUATION_YEAR", str(SAMPLE_YEARS[1]))),
        approval=_approval(),
        approval_hours=_approval_hours(),
    )
