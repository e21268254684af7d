"""The care side of the province: adds its tables to those of schools, registers and the poverty list."""

from __future__ import annotations

import polars as pl

from simulator.care_dropout import dropout_cases
from simulator.care_files import care_records
from simulator.care_plant import plant_meals, plant_registers
from simulator.care_schools import liability_policies, nutrition_months
from simulator.world import World


def add_care(world: World, tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Return all tables with the planted contradictions and the four feeds on care.

    Reviews of leads and of matches have no table: their case numbers are made in the warehouse from tokens that only
    its secret key can make.
    """
    known = plant_registers(world, tables)
    return {
        **known,
        "nutrition_month": plant_meals(world, nutrition_months(world, known)),
        "dropout_case": dropout_cases(world, known),
        "care_record": care_records(world, known),
        "liability_insurance": liability_policies(world, known),
    }
