"""Write the sample province: feeds, truth and manifest."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import polars as pl

from simulator.aid_cases import aid_cases, write_due
from simulator.aid_truth import aid_values
from simulator.care import add_care
from simulator.care_cases import care_cases
from simulator.care_truth import care_values
from simulator.cases import Case, lead_values, write_cases
from simulator.defects import DEFECT_COLUMNS, Defect, inject
from simulator.frames import build_frames
from simulator.geography import Geography
from simulator.id_damage import damage_ids, person_match, with_lookalikes
from simulator.plan import YEARS
from simulator.render import FOLDERS, FeedFile, feed_files
from simulator.truth import Areas, MoreValues, indicator_values, out_of_school, primary_rows
from simulator.world import World, build_world

TRUTH_FOLDER = ".truth"
#: what adds to the truth beyond schools, registers and the poverty list
MORE_VALUES: tuple[MoreValues, ...] = (aid_values, care_values)


@dataclass(frozen=True)
class SimulationReport:
    """What a run wrote.

    Attributes:
        out: extract root.
        truth: folder of the truth tables.
        scale, years, seed, defects: the arguments.
        files: number of feed files.
        rows: data rows by contract id (as written, defects included).
        defect_count, defect_kinds: lines and kinds of the manifest.
        seconds: wall time by step.
    """

    out: Path
    truth: Path
    scale: float
    years: tuple[int, int]
    seed: int
    defects: bool
    files: int
    rows: dict[str, int]
    defect_count: int
    defect_kinds: int
    seconds: dict[str, float] = field(default_factory=dict)


def areas_of(geo: Geography) -> Areas:
    """Return the counties and groups of the province."""
    return Areas(
        tuple(c.code for c in geo.counties),
        tuple(c.code for c in geo.counties if c.is_plan),
        tuple(c.code for c in geo.counties if c.is_priority),
    )


def simulate(
    out: Path,
    *,
    scale: float = 0.02,
    years: tuple[int, int] = (YEARS[0], YEARS[-1]),
    seed: int = 20160615,
    defects: bool = False,
    damaged_id_share: float = 0.0,
    progress: Callable[[str], None] | None = None,
) -> SimulationReport:
    """Write the sample province below ``out`` and its truth below ``out/.truth``.

    Args:
        out: extract root; existing feed folders of the simulator and the truth folder are replaced.
        scale: fraction of the real province, above 0 and at most 1.
        years: first and last evaluation year, within 2015-2020.
        seed: the same arguments give byte-identical files.
        defects: inject the defects and write their manifest.
        damaged_id_share: share of the registered-poor pupils whose ID number no longer joins list and register; the
            indicator values of the truth are then those of the true persons.
        progress: called with one sentence per step.

    Raises:
        ValueError: a year outside 2015-2020, a reversed pair, a scale outside (0, 1], or a share outside [0, 1].
    """
    if not 0 <= damaged_id_share <= 1:
        raise ValueError(f"the share of damaged ID numbers must lie within 0 and 1, not {damaged_id_share:g}")
    first, last = years
    if not YEARS[0] <= first <= last <= YEARS[-1]:
        raise ValueError(f"years must lie within {YEARS[0]}-{YEARS[-1]} in order, not {first}-{last}")
    tell = progress or (lambda _: None)
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal started
        now = time.perf_counter()
        seconds[step] = now - started
        started = now

    tell(f"people: {scale:g} of the province, seed {seed}")
    world = build_world(scale, seed)
    lap("world")
    tell("tables: schools, pupils, households, population")
    tables = build_frames(world).tables
    lookalikes: dict[str, str] = {}
    if damaged_id_share:
        tables, lookalikes = with_lookalikes(tables, scale, seed)
    lap("frames")
    tell("tables: dropouts, care, meals, insurance")
    tables = add_care(world, tables)
    lap("care")
    truth = out / TRUTH_FOLDER
    _clear(out, tables)
    areas, villages = areas_of(world.geo), world.geo.current_county()
    wanted = range(first, last + 1)
    tell("truth: every indicator from the tables")
    cases = integrity_cases(tables, villages)
    clean = indicator_values(tables, areas, villages, wanted, _with_leads(cases))
    lap("truth")
    damage: dict[str, str] = {}
    if damaged_id_share:
        tell("ID numbers: lost and mistyped")
        tables, damage = damage_ids(tables, damaged_id_share, seed, lookalikes)
    tell("files: formats and habits of 22 counties")
    files = feed_files(tables, world.geo, years)
    lap("render")
    manifest: list[Defect] = []
    extra: list[FeedFile] = []
    dirty = clean
    if defects:
        tell("defects: injected with a manifest")
        injection = inject(files, tables, seed)
        files, extra, manifest = injection.files, injection.rejected, injection.manifest
        survivors = {
            name: table.filter(~pl.Series(range(table.height), dtype=pl.Int64).is_in(sorted(gone)))
            if (gone := injection.removed.get(name))
            else table
            for name, table in tables.items()
        }
        cases = integrity_cases(survivors, villages)
        dirty = indicator_values(survivors, areas, villages, wanted, _with_leads(cases))
        lap("defects")
    else:
        survivors = tables
    hashes: dict[str, str] = {}
    rows: dict[str, int] = {}
    for file in [*files, *extra]:
        path = file.write(out)
        hashes[file.path.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        rows[file.contract] = rows.get(file.contract, 0) + file.data.height
    lap("write")
    tell(f"wrote {len(hashes)} files")
    _write_truth(truth, world, survivors, clean, dirty, manifest, cases, wanted)
    matches = person_match(survivors, damage, lookalikes)
    _write_values(truth / "person_match.csv", matches.filter(pl.col("poverty_year").is_between(first, last)))
    report = SimulationReport(
        out, truth, scale, years, seed, defects, len(hashes), rows, len(manifest), len({d.defect_id for d in manifest}),
        seconds,
    )  # fmt: skip
    lap("truth files")
    _write_summary(truth / "province.json", report, hashes, tables, clean, dirty)
    return report


def _with_leads(cases: list[Case]) -> tuple[MoreValues, ...]:
    return (*MORE_VALUES, lambda table, *_: lead_values(table, cases))


def integrity_cases(tables: dict[str, pl.DataFrame], villages: dict[str, str]) -> list[Case]:
    """Return the cases of every rule in the tables; ``villages`` gives the county of today of every village."""
    return [*care_cases(tables, villages), *aid_cases(tables)]


def _clear(out: Path, tables: Iterable[str]) -> None:
    """Remove what an earlier run wrote; other folders below ``out`` (reviews by counties) stay."""
    for folder in {*(FOLDERS[name] for name in tables), TRUTH_FOLDER}:
        if (out / folder).is_dir():
            shutil.rmtree(out / folder)


def _write_values(path: Path, values: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values.write_csv(path, line_terminator="\n")


def _write_truth(
    truth: Path,
    world: World,
    survivors: dict[str, pl.DataFrame],
    clean: pl.DataFrame,
    dirty: pl.DataFrame,
    manifest: list[Defect],
    cases: list[Case],
    years: range,
) -> None:
    _write_values(truth / "indicator_values.csv", dirty)
    _write_values(truth / "indicator_values_clean.csv", clean)
    with (truth / "defects.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(DEFECT_COLUMNS)
        writer.writerows(d.as_row() for d in manifest)
    write_due(truth, survivors, years)
    write_cases(truth / "integrity_cases.csv", (c for c in cases if years[0] <= c.year <= years[-1]))
    missing = out_of_school(
        survivors["poor_person"].join(
            pl.DataFrame(list(world.geo.current_county().items()), schema=["_village", "_home"], orient="row"),
            left_on="village_code",
            right_on="_village",
            how="left",
        ),
        survivors["pupil"],
        survivors["student_event"],
    ).filter(pl.col("poverty_year").is_between(years[0], years[-1]))
    _write_values(
        truth / "out_of_school.csv",
        missing.select(
            "poverty_year", area_code="_home", person_number="person_number", id_number="id_number",
            birth_date="birth_date", out_of_school_reason="out_of_school_reason",
        ).sort("poverty_year", "area_code", "person_number"),
    )  # fmt: skip
    pupil = survivors["pupil"].filter(pl.col("school_year").is_between(years[0], years[-1]))
    several = pupil.filter(pl.len().over("school_year", "_token") > 1)
    chosen = primary_rows(several, survivors["student_event"]).select(
        "school_year", "_token", primary_school_code="school_code"
    )
    _write_values(
        truth / "dual_rolls.csv",
        several.join(chosen, on=["school_year", "_token"], how="left")
        .select(
            "school_year", "id_number", "school_code", "grade", "enrolled_on",
            is_primary=(pl.col("school_code") == pl.col("primary_school_code")).cast(pl.Int64),
        )
        .sort("school_year", "id_number", "school_code"),
    )  # fmt: skip


def _write_summary(
    path: Path,
    report: SimulationReport,
    hashes: dict[str, str],
    tables: dict[str, pl.DataFrame],
    clean: pl.DataFrame,
    dirty: pl.DataFrame,
) -> None:
    """Write arguments, counts and hashes; no time and no absolute path, so that the file is reproducible."""
    known = {k: v for k, v in asdict(report).items() if k not in {"out", "truth", "seconds"}}
    summary = {
        **known,
        "table_rows": {name: table.height for name, table in sorted(tables.items())},
        "indicator_values": clean.height,
        "indicator_values_changed_by_defects": clean.join(dirty, on=clean.columns, how="anti", nulls_equal=True).height,
        "sha256": dict(sorted(hashes.items())),
    }
    path.write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
