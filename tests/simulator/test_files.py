"""The written files: the same bytes again, the formats counties send, the manifest's cells, the truth."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import zipfile
from pathlib import Path

import openpyxl  # type: ignore[import-untyped]
import polars as pl
import pytest

from simulator import SimulationReport, simulate
from simulator.cases import CASE_COLUMNS
from simulator.defects import ROWS_PER_QUARANTINE, ROWS_PER_UNKNOWN
from simulator.geography import Geography
from simulator.render import FOLDERS, GB18030_COUNTIES, HEADERS, UTF8_COUNTIES
from tests.simulator.conftest import SCALE, SEED

ID_LIKE = re.compile(r"(?<!\d)[1-9]\d{16}[\dXx](?!\d)")
Manifest = list[dict[str, str]]


def read_csv(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """Return the header and the records by the physical line on which each begins."""
    raw = path.read_bytes()
    text = raw.decode("utf-8-sig") if raw.startswith(b"\xef\xbb\xbf") else None
    if text is None:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("gb18030")
    reader = csv.reader(text.splitlines(keepends=True))
    header = next(reader)
    records: dict[int, list[str]] = {}
    start = reader.line_num + 1
    for record in reader:
        records[start] = record
        start = reader.line_num + 1
    return header, records


def read_sheet(path: Path) -> list[list[str]]:
    """Return all rows of the only sheet as text."""
    book = openpyxl.load_workbook(path, read_only=True)
    rows = [["" if c is None else str(c) for c in row] for row in book.worksheets[0].iter_rows(values_only=True)]
    book.close()
    width = max(len(row) for row in rows)
    return [row + [""] * (width - len(row)) for row in rows]


def manifest(report: SimulationReport) -> Manifest:
    """Return the defect manifest."""
    with (report.truth / "defects.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def one(report: SimulationReport, pattern: str) -> Path:
    """Return the only file that matches."""
    (path,) = report.out.glob(pattern)
    return path


def values(report: SimulationReport, name: str = "indicator_values.csv") -> pl.DataFrame:
    """Return a truth table."""
    return pl.read_csv(
        report.truth / name,
        schema_overrides={"area_code": pl.String, "numerator": pl.Int64, "denominator": pl.Int64},
    )


def test_same_arguments_give_the_same_bytes(damaged: SimulationReport, tmp_path: Path) -> None:
    again = simulate(tmp_path / "extracts", scale=SCALE, seed=SEED, defects=True)
    first = {p.relative_to(damaged.out): p.read_bytes() for p in damaged.out.rglob("*") if p.is_file()}
    second = {p.relative_to(again.out): p.read_bytes() for p in again.out.rglob("*") if p.is_file()}
    assert first.keys() == second.keys()
    assert [k for k in first if first[k] != second[k]] == []


def test_recorded_hashes_are_those_of_the_files(damaged: SimulationReport, feed_paths: list[Path]) -> None:
    summary = json.loads((damaged.truth / "province.json").read_text(encoding="utf-8"))
    found = {p.relative_to(damaged.out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in feed_paths}
    assert found == summary["sha256"]
    assert summary["files"] == damaged.files == len(feed_paths)


def test_another_seed_gives_another_province(clean: SimulationReport, tmp_path: Path) -> None:
    other = simulate(tmp_path / "x", scale=SCALE, seed=SEED + 1, years=(2020, 2020))
    name = "E04_学籍/学籍_640422_西吉县_2020_*.csv"
    assert one(clean, name).read_bytes() != one(other, name).read_bytes()


def test_years_limit_snapshots_but_not_the_history(tmp_path: Path) -> None:
    report = simulate(tmp_path / "x", scale=SCALE, seed=SEED, years=(2019, 2020))
    years = {p.name.split("_")[3] for p in (report.out / "E04_学籍").iterdir()}
    assert years == {"2019", "2020"}
    counts = {p.name.split("_")[3] for p in (report.out / "E03_班级学生统计").iterdir()}
    assert counts == {str(y) for y in range(2007, 2021)}
    assert set(values(report)["evaluation_year"]) == {2019, 2020}


@pytest.mark.parametrize("years", [(2014, 2020), (2015, 2021), (2020, 2019)])
def test_years_outside_the_plan_are_refused(tmp_path: Path, years: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="years must lie within"):
        simulate(tmp_path / "x", scale=SCALE, years=years, seed=1)


@pytest.mark.parametrize("share", [-0.01, 1.01])
def test_shares_outside_0_and_1_are_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(ValueError, match="share of damaged ID numbers must lie within 0 and 1"):
        simulate(tmp_path / "x", scale=SCALE, seed=1, damaged_id_share=share)


def test_other_folders_of_the_extract_root_stay(tmp_path: Path) -> None:
    root = tmp_path / "extracts"
    (root / "E06_教职工").mkdir(parents=True)
    (root / "E06_教职工" / "note.txt").write_text("kept", encoding="utf-8")
    (root / "E33_线索核查").mkdir()
    (root / "E33_线索核查" / "review.csv").write_text("filled in by a county", encoding="utf-8")
    stale = root / "E04_学籍" / "old.csv"
    stale.parent.mkdir()
    stale.write_text("old", encoding="utf-8")
    simulate(root, scale=SCALE, seed=SEED, years=(2020, 2020))
    assert (root / "E06_教职工" / "note.txt").read_text(encoding="utf-8") == "kept"
    assert (root / "E33_线索核查" / "review.csv").exists()
    assert not stale.exists()


def test_every_county_sends_every_feed_every_year(clean: SimulationReport, geo: Geography) -> None:
    wanted = {(c.code, str(y)) for c in geo.counties for y in range(2015, 2021)}
    for contract, stem in STEMS.items():
        if contract == "population_age":
            continue
        sent = {tuple(p.name.split("_")[1:4:2]) for p in (clean.out / FOLDERS[contract]).glob(f"{stem}_*")}
        assert {pair for pair in sent if pair[0] != "64"} == wanted, contract
    people = sorted(p.name.split("_")[3:6] for p in (clean.out / "E08_分岁人口").iterdir())
    assert len(people) == 6 + 6 + 5
    assert ["2020", "常住", "census2020"] in people


def test_encodings_are_those_of_the_counties(clean: SimulationReport) -> None:
    register = sorted((clean.out / "E04_学籍").iterdir())
    assert len(register) == 22 * 6
    for path in register:
        county = path.name.split("_")[1]
        raw = path.read_bytes()
        if county in GB18030_COUNTIES:
            assert path.suffix == ".csv"
            assert "学籍号" in raw.decode("gb18030")
            with pytest.raises(UnicodeDecodeError):
                raw.decode("utf-8")
        elif county in UTF8_COUNTIES:
            assert raw.startswith(b"\xef\xbb\xbf")
            assert raw.decode("utf-8-sig").startswith("学年,")
        else:
            assert path.suffix == ".xlsx"
            assert zipfile.is_zipfile(path)


def test_wuzhong_workbooks_have_two_header_rows_titles_totals_and_a_footer(clean: SimulationReport) -> None:
    path = one(clean, "E03_班级学生统计/学生统计_640303_红寺堡区_2018_*.xlsx")
    sheet = openpyxl.load_workbook(path).worksheets[0]
    rows = [list(r) for r in sheet.iter_rows(values_only=True)]
    assert "统计表" in rows[0][0]
    assert rows[1][0] == "单位:人"
    assert rows[2][:7] == ["学年", "县代码", "学校标识码", "学校名称", "学段", "年级", "性别"]
    assert rows[3][7:] == ["在校生数", "招生数", "毕业生数", "寄宿生数", "转入", "转出", "死亡"]
    assert {"H3:K3", "L3:N3", "A1:N1", "A3:A4"} <= {str(m) for m in sheet.merged_cells.ranges}
    assert rows[-1][0].startswith("填报人:")
    assert rows[-2][0] == "合计"
    data = [r for r in rows[4:] if r[2]]
    assert rows[-2][7] == sum(r[7] for r in data)
    assert all(isinstance(r[7], int) and isinstance(r[2], str) for r in data)


def test_other_workbooks_have_one_header_row_below_the_title(clean: SimulationReport) -> None:
    rows = read_sheet(one(clean, "E04_学籍/学籍_640522_海原县_2018_*.xlsx"))
    assert rows[1] == list(HEADERS["pupil"].values())
    assert rows[2][3][0] in "GJL"


def test_no_number_of_a_person_lies_outside_the_unassigned_prefix(feed_paths: list[Path]) -> None:
    seen = 0
    for path in feed_paths:
        if path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as archive:
                text = archive.read("xl/sharedStrings.xml").decode("utf-8")
        else:
            raw = path.read_bytes()
            text = raw.decode("gb18030" if path.name.split("_")[1] in GB18030_COUNTIES else "utf-8-sig")
        for number in ID_LIKE.findall(text):
            seen += 1
            assert number.startswith("6499"), path.name
    assert seen > 50_000


def test_at_least_twenty_kinds_of_defects_from_the_catalogue(damaged: SimulationReport) -> None:
    ids = {re.sub(r"[a-z]$", "", d["defect_id"]) for d in manifest(damaged)}
    assert len({i for i in ids if re.fullmatch(r"M\d\d", i)}) >= 20
    assert {d["outcome"] for d in manifest(damaged)} == {
        "normalized", "quarantined", "exact_duplicate", "file_rejected", "same_content",
    }  # fmt: skip


def test_every_manifest_line_points_to_the_damaged_cell(damaged: SimulationReport) -> None:
    sheets: dict[str, list[list[str]]] = {}
    tables: dict[str, tuple[list[str], dict[int, list[str]]]] = {}
    checked = 0
    for defect in manifest(damaged):
        path = damaged.out / defect["file"]
        line, column = int(defect["line"]), defect["column"]
        contract = next(c for c, stem in STEMS.items() if path.name.startswith(stem + "_"))
        if defect["outcome"] == "same_content":
            assert path.read_bytes() == path.with_name(defect["original"]).read_bytes()
            checked += 1
            continue
        if path.suffix == ".xlsx":
            rows = sheets.setdefault(defect["file"], read_sheet(path))
            assert openpyxl.load_workbook(path, read_only=True).sheetnames == [defect["sheet"]]
            header = next(r for r in rows if "县代码" in r or "区划代码" in r)
            low = rows[rows.index(header) + 1]
            # In a two-row header a group title stands above the names of its columns.
            header = [
                below if below in HEADERS[contract].values() else above
                for above, below in zip(header, low, strict=True)
            ]
            record = rows[line - 1]
        else:
            header, by_line = tables.setdefault(defect["file"], read_csv(path))
            record = header if line == 1 else by_line[line]
        if defect["outcome"] == "file_rejected":
            assert HEADERS[contract][column] not in header
            assert "县代码" in record
        elif defect["defect_id"] == "M10":
            assert not any(cell.strip() for cell in record)
        elif column == "*":
            assert len(record) == int(defect["written"])
            assert len(header) == int(defect["original"])
        else:
            assert record[header.index(HEADERS[contract][column])] == defect["written"]
            if defect["outcome"] != "exact_duplicate":
                assert defect["written"] != defect["original"]
        checked += 1
    assert checked >= 50


STEMS = {
    "school": "学校信息", "enrollment_count": "学生统计", "pupil": "学籍", "student_event": "学籍异动",
    "poor_household": "建档立卡户", "poor_person": "建档立卡人口", "population_age": "分岁人口",
    "disabled_child": "残疾儿童",
}  # fmt: skip


def test_exact_duplicates_and_repeated_keys_stand_behind_their_originals(damaged: SimulationReport) -> None:
    seen = 0
    for defect in manifest(damaged):
        if defect["rule"] not in {"duplicate.exact", "duplicate.key"}:
            continue
        path, line = damaged.out / defect["file"], int(defect["line"])
        if path.suffix == ".xlsx":
            rows = read_sheet(path)
            before, copy = rows[line - 2], rows[line - 1]
        else:
            _, by_line = read_csv(path)
            before, copy = by_line[line - 1], by_line[line]
        different = [i for i, (a, b) in enumerate(zip(before, copy, strict=True)) if a != b]
        assert len(different) == (0 if defect["rule"] == "duplicate.exact" else 1)
        seen += 1
    assert seen >= 2


def test_no_file_has_more_bad_rows_than_a_gate_would_bear(damaged: SimulationReport) -> None:
    bad: dict[str, int] = {}
    small: set[str] = set()
    for defect in manifest(damaged):
        if defect["outcome"] in {"quarantined", "exact_duplicate"}:
            bad[defect["file"]] = bad.get(defect["file"], 0) + 1
        if defect["defect_id"] == "B80":
            # a row that is too many takes nothing from a file
            small.add(defect["file"])
    assert bad
    assert small
    for name, number in bad.items():
        path = damaged.out / name
        rows = len(read_sheet(path)) if path.suffix == ".xlsx" else len(read_csv(path)[1])
        assert number * (ROWS_PER_UNKNOWN if name in small else ROWS_PER_QUARANTINE) <= rows


def test_rejected_file_is_followed_by_a_later_correction(damaged: SimulationReport) -> None:
    rejected = [d for d in manifest(damaged) if d["outcome"] == "file_rejected"]
    assert len(rejected) == 2
    for defect in rejected:
        path = damaged.out / defect["file"]
        stem = path.stem[:-8]
        later = list(path.parent.glob(f"{stem}*(2){path.suffix}"))
        assert len(later) == 1
        assert later[0].stem[len(stem) : len(stem) + 8] > path.stem[-8:]


def test_rows_of_the_truth_are_a_complete_matrix(clean: SimulationReport) -> None:
    table = values(clean)
    key = ["indicator_code", "variant", "area_code", "evaluation_year", "subgroup", "basis"]
    assert table.select(key).is_unique().all()
    areas = 22 + 5 + 2
    full = {"C1": 2, "G1a": 2, "G1b": 2, "G2a": 2, "G2b": 2, "G3": 4, "G4": 2, "G14": 2, "A1.6": 1}
    for code, variants in full.items():
        assert table.filter(pl.col("indicator_code") == code).height == variants * areas * 6, code
    assert table.filter(pl.col("indicator_code") == "G0").height == 4 * (areas - 1) * 6
    assert table.filter(pl.col("indicator_code") == "A1.3").height == (5 + 6 + 1) * 6
    # aid and care may have nobody to count in a county; schools and people are everywhere
    everywhere = [code for code in (*full, "G0", "A1.3") if code not in {"C1", "G14"}]
    rates = table.filter(pl.col("indicator_code").is_in(everywhere) & (pl.col("subgroup") == "all"))
    assert rates["denominator"].min() > 0  # type: ignore[operator]


@pytest.mark.parametrize("name", ["indicator_values.csv", "indicator_values_clean.csv"])
def test_rollups_are_sums_of_counties(damaged: SimulationReport, geo: Geography, name: str) -> None:
    table = values(damaged, name).filter(~pl.col("indicator_code").is_in(["G0", "A1.3"]))
    county = table.filter(pl.col("area_code").str.len_chars() == 6)
    plan = [c.code for c in geo.counties if c.is_plan]
    groups = {"64": county, "PLAN9": county.filter(pl.col("area_code").is_in(plan))}
    for city in {c.city_code for c in geo.counties}:
        groups[city] = county.filter(pl.col("area_code").str.starts_with(city))
    key = ["indicator_code", "variant", "evaluation_year", "subgroup", "basis"]
    compared = 0
    for area, members in groups.items():
        pooled = members.group_by(key).agg(pl.col("numerator").sum(), pl.col("denominator").sum())
        both = table.filter(pl.col("area_code") == area).join(pooled, on=key, suffix="_sum", validate="1:1")
        assert both.height == pooled.height > 0
        assert (both["numerator"] == both["numerator_sum"]).all()
        assert (both["denominator"].fill_null(0) == both["denominator_sum"]).all()
        compared += both.height
    assert compared > 700


def test_gap_is_the_exact_difference_of_two_ratios(clean: SimulationReport) -> None:
    table = values(clean)

    def cell(code: str, variant: str, area: str, basis: str) -> tuple[int, int]:
        row = table.filter(
            (pl.col("indicator_code") == code)
            & (pl.col("variant") == variant)
            & (pl.col("area_code") == area)
            & (pl.col("basis") == basis)
            & (pl.col("evaluation_year") == 2019)
            & (pl.col("subgroup") == "all")
        )
        return int(row["numerator"][0]), int(row["denominator"][0])

    n, d = cell("G4", "ger_upper_secondary", "PLAN9", "registered")
    top, bottom = cell("G4", "ger_upper_secondary", "64", "registered")
    assert cell("G0", "gap_ger_upper_secondary", "PLAN9", "registered") == (n * bottom - top * d, d * bottom)


def test_clean_sample_has_equal_truths_and_an_empty_manifest(clean: SimulationReport) -> None:
    assert values(clean).equals(values(clean, "indicator_values_clean.csv"))
    assert manifest(clean) == []


def test_defects_change_the_truth_only_where_rows_are_lost(damaged: SimulationReport, clean: SimulationReport) -> None:
    assert values(damaged, "indicator_values_clean.csv").equals(values(clean))
    changed = values(clean).join(values(damaged), on=values(clean).columns, how="anti", nulls_equal=True)
    assert 0 < changed.height < 0.2 * values(clean).height
    # Population quarantine hits the age of 100+ only; nothing that depends on the poor list grows.
    assert "G1b" not in set(changed["indicator_code"])
    # A damaged ID takes a poor pupil off the register: one more child seems to be out of school.
    before = values(clean).filter((pl.col("indicator_code") == "G14") & (pl.col("variant") == "all_reasons"))
    after = values(damaged).filter((pl.col("indicator_code") == "G14") & (pl.col("variant") == "all_reasons"))
    region = pl.col("area_code") == "64"
    assert after.filter(region)["numerator"].sum() > before.filter(region)["numerator"].sum()


@pytest.mark.parametrize(("county", "name", "kind"), [("640422", "西吉县", "csv"), ("640303", "红寺堡区", "xlsx")])
def test_preschool_ratio_can_be_recounted_from_the_files(
    clean: SimulationReport, county: str, name: str, kind: str
) -> None:
    path = one(clean, f"E03_班级学生统计/学生统计_{county}_{name}_2018_*.{kind}")
    if kind == "csv":
        header, by_line = read_csv(path)
        rows = list(by_line.values())
    else:
        rows = read_sheet(path)[4:]
        header = list(HEADERS["enrollment_count"].values())
    grade, number = header.index("年级"), header.index("在校生数")
    children = sum(int(r[number]) for r in rows if len(r) > grade and r[grade] in {"小班", "中班", "大班"})
    people_header, people = read_csv(one(clean, "E08_分岁人口/分岁人口_64_宁夏_2018_常住_annual_*.csv"))
    area, age, count = (people_header.index(h) for h in ("区划代码", "年龄", "人数"))
    base = sum(int(r[count]) for r in people.values() if r[area] == county and 3 <= int(r[age]) <= 5)
    row = values(clean).filter(
        (pl.col("indicator_code") == "G1b")
        & (pl.col("area_code") == county)
        & (pl.col("evaluation_year") == 2018)
        & (pl.col("basis") == "resident")
    )
    assert (int(row["numerator"][0]), int(row["denominator"][0])) == (children, base)


def test_lost_children_table_agrees_with_the_indicator(damaged: SimulationReport) -> None:
    lost = pl.read_csv(damaged.truth / "out_of_school.csv", schema_overrides={"area_code": pl.String})
    total = (
        values(damaged)
        .filter(
            (pl.col("indicator_code") == "G14") & (pl.col("variant") == "all_reasons") & (pl.col("area_code") == "64")
        )["numerator"]
        .sum()
    )
    assert lost.height == total > 0


def test_cases_of_integrity_stand_in_one_file(damaged: SimulationReport) -> None:
    cases = pl.read_csv(damaged.truth / "integrity_cases.csv", schema_overrides={"county_code": pl.String})
    assert cases.columns == list(CASE_COLUMNS)
    counted = cases.group_by("rule", "is_near_miss").len()
    for rule in ("I08", "I09", "I11", "I12", "I19", "I22"):
        found = dict(counted.filter(pl.col("rule") == rule).select("is_near_miss", "len").iter_rows())
        assert found[0] >= 2, rule
        assert found[1] >= 1, rule
    key = ["rule", "case_kind", "year", "county_code", "subject"]
    assert cases.select(key).is_unique().all()
    rolls = pl.read_csv(damaged.truth / "dual_rolls.csv", schema_overrides={"id_number": pl.String})
    twice = rolls.select("school_year", "id_number").unique().height
    assert cases.filter((pl.col("rule") == "I12") & (pl.col("is_near_miss") == 0)).height == twice


def test_pupils_in_two_schools_have_one_primary_roll(clean: SimulationReport) -> None:
    rolls = pl.read_csv(clean.truth / "dual_rolls.csv", schema_overrides={"id_number": pl.String})
    by_person = rolls.group_by("school_year", "id_number").agg(pl.len(), pl.col("is_primary").sum())
    assert by_person.height > 200
    assert (by_person["len"] == 2).all()
    assert (by_person["is_primary"] == 1).all()


def test_report_says_what_was_written(clean: SimulationReport) -> None:
    assert clean.files == sum(1 for p in clean.out.rglob("*") if p.is_file() and ".truth" not in p.parts)
    assert clean.rows["pupil"] > 40_000
    assert clean.defect_count == clean.defect_kinds == 0
    assert {"world", "frames", "write"} <= set(clean.seconds)
