"""Settings that are not the warehouse's own: where extracts lie and where runs leave their traces."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from warehouse.config import PROJECT_ROOT, WarehouseConfig, load_config

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
    """

    warehouse: WarehouseConfig
    extracts: Path
    runs: Path
    evaluation_year: int


def load_settings() -> Settings:
    """Settings from the environment: EDUPA_EXTRACTS, EDUPA_EVALUATION_YEAR and those of the warehouse."""
    warehouse = load_config()
    return Settings(
        warehouse=warehouse,
        extracts=PROJECT_ROOT / os.environ.get("EDUPA_EXTRACTS", "extracts"),
        runs=warehouse.home / "runs",
        evaluation_year=int(os.environ.get("EDUPA_EVALUATION_YEAR", str(SAMPLE_YEARS[1]))),
    )
