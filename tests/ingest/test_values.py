"""Normalizers and parsers: golden examples of the messiness catalogue."""

from __future__ import annotations

from datetime import date
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import values
from ingest.codelists import load_code_lists
from ingest.columns import ColumnParser, id_problems, masked, shape
from ingest.contract import load_contracts

VALID = (
    "649901201203150011",
    "64990120120315002X",
    "649901201009080144",
    "649902198506113017",
    "649903200511300075",
    "34052419800101001X",  # the standard's own example
)


@pytest.mark.parametrize("number", VALID)
def test_valid_ids_pass(number: str) -> None:
    assert values.parse_id(number) == (number, None)
    assert values.id_check_character(number[:17]) == number[17]
    assert not any(mask.any() for mask in id_problems(pl.Series([number]), date(2020, 12, 31)).values())


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        ("649901201203150000", "id.excel_truncated"),  # 649901201203150011 with 15 significant digits
        ("649901201203149952", "id.checksum"),  # the same through float64
        ("649901201203150012", "id.checksum"),
        ("649901201202300019", "id.impossible_date"),
        ("649901203003150018", "id.impossible_date"),  # born after the extract
    ],
)
def test_damaged_ids_are_named(number: str, rule: str) -> None:
    broken = [name for name, mask in id_problems(pl.Series([number]), date(2020, 12, 31)).items() if mask.any()]
    assert broken == [rule]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("6.49901E+17", "id.scientific"),
        ("6.49901201203150E17", "id.scientific"),
        ("111111111111111111", "id.placeholder"),
        ("000000000000000000", "id.placeholder"),
        ("123456789012345678", "id.placeholder"),
        ("649901201203150011.0", "id.excel_truncated"),
        ("649901850315001", "id.pattern"),  # 15 digits
        ("64990120120315001", "id.pattern"),
        ("６49901201203150011", "id.pattern"),  # unnormalized full width
    ],
)
def test_forms_of_wrong_ids(text: str, rule: str) -> None:
    assert values.parse_id(text)[1] == rule


def test_id_is_normalized_before_it_is_judged() -> None:
    column = load_contracts()["pupil"].by_name["id_number"]
    for text in (
        "64990120120315002x",
        " ６４９９０１２０１２０３１５００２Ｘ ",
        "'64990120120315002X",
        "649901 20120315 002X\u200b",
    ):
        parsed = ColumnParser(column).parse(text)
        assert (parsed.text, parsed.rule) == ("64990120120315002X", None), text
        assert parsed.steps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2017-09-01", "2017-09-01"),
        ("2017年9月1日", "2017-09-01"),
        ("20170901", "2017-09-01"),
        ("2017.9.1", "2017-09-01"),
        ("2017/9/1", "2017-09-01"),
        ("2017-9-1", "2017-09-01"),
        ("2017-09-01 00:00:00", "2017-09-01"),
        ("2017-08-31T16:00:00Z", "2017-09-01"),
        ("二〇一七年九月一日", "2017-09-01"),
        ("二〇一七年十二月三十一日", "2017-12-31"),
        ("2024/2/30", None),
        ("24-02-01", None),
        ("17-09-01", None),
        ("9/1/2017", None),
        ("42979", None),  # a serial is a date in a typed cell only
        ("2017.9-1", None),
        ("201709", None),
        ("民国106年9月1日", None),
        ("2017-09-01 13:30:00", None),
    ],
)
def test_dates(text: str, expected: str | None) -> None:
    assert values.parse_date(text) == expected


@pytest.mark.parametrize("text", ["201709", "2017-09", "2017/9", "2017年9月", "2017.9", "二〇一七年九月"])
def test_month_only_is_the_first_day_where_allowed(text: str) -> None:
    assert values.parse_date(text, month_allowed=True) == "2017-09-01"
    assert values.parse_date(text) is None


def test_excel_serial() -> None:
    assert values.excel_serial(42979) == date(2017, 9, 1)
    assert values.excel_serial(42979.5) is None
    assert values.excel_serial(60) is None  # 29 February 1900 never was
    assert values.excel_serial(201709) is not None  # a plausible serial; the parser tries year and month first
    column = load_contracts()["pupil"].by_name["birth_date"]
    assert ColumnParser(column).parse(f"{values.NUMERIC_CELL}42979").text == "2017-09-01"
    assert ColumnParser(column).parse(f"{values.NUMERIC_CELL}20170901").text == "2017-09-01"
    assert ColumnParser(column).parse("42979").rule == "type.date"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016/17", "2016/17"),
        ("2016-2017", "2016/17"),
        ("2016-2017学年", "2016/17"),
        ("2016/2017", "2016/17"),
        ("2016—2017学年度", "2016/17"),
        ("1999/00", "1999/00"),
        ("2016/18", None),
        ("2016", None),
        ("2016-2018学年", None),
    ],
)
def test_school_years(text: str, expected: str | None) -> None:
    assert values.parse_school_year(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", ("12", None)),
        ("-3", ("-3", None)),
        ("007", ("7", None)),
        ("12人", (None, "number.unit_text")),
        ("约300", (None, "number.unit_text")),
        ("1.5万", (None, "number.unit_text")),
        ("93%", (None, "number.unit_text")),
        ("12.5", (None, "type.integer")),
        ("NaN", (None, "type.integer")),
        ("Infinity", (None, "type.integer")),
        ("1e309", (None, "type.integer")),
        ("abc", (None, "type.integer")),
        ("9" * 25, (None, "number.out_of_range")),
        ("9" * 5000, (None, "number.out_of_range")),
    ],
)
def test_integers(text: str, expected: tuple[str | None, str | None]) -> None:
    assert values.parse_integer(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("1,234", 1234), ("１２", 12), ("12.0", 12), (" 7 ", 7), ("1，234", 1234)]
)
def test_listed_number_forms_are_accepted(text: str, expected: int) -> None:
    column = load_contracts()["enrollment_count"].by_name["enrollment_count"]
    assert ColumnParser(column).apply(pl.Series("x", [text]).alias(column.name), {}).values.to_list() == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("是", "true"), ("否", "false"), ("1", "true"), ("0", "false"), ("√", "true"), ("×", "false"), ("有", "true"),
     ("无", "false"), ("Y", "true"), ("n", "false"), ("☑", "true"), ("也许", None)],
)  # fmt: skip
def test_booleans(text: str, expected: str | None) -> None:
    assert values.parse_boolean(text) == expected


@pytest.mark.parametrize(
    "text", ["", "空", "无", "暂无", "NULL", "null", "#N/A", "#VALUE!", "—", "－", "/", " 无 ", "N/A"]
)
def test_null_words(text: str) -> None:
    assert values.is_null_word(text)


def test_zero_is_a_value() -> None:
    assert not values.is_null_word("0")


@pytest.mark.parametrize("separator", ["\u2022", "\u30fb", "\uff0e", ".", "\u2027", " · "])
def test_name_separator_becomes_the_middle_dot(separator: str) -> None:
    column = load_contracts()["pupil"].by_name["pupil_name"]
    assert ColumnParser(column).parse(f"阿依古丽{separator}买买提").text == "阿依古丽\u00b7买买提"
    assert "\u00b7".encode("gb18030").hex() == "a1a4"


def test_names_keep_rare_characters_and_lose_stretching_spaces() -> None:
    column = load_contracts()["pupil"].by_name["pupil_name"]
    parser = ColumnParser(column)
    assert parser.parse("马　明").text == "马明"
    assert parser.parse("𬭼䶮").text == "𬭼䶮"
    assert parser.parse("{{ 7*7 }}").text == "{{ 7*7 }}"
    assert parser.parse("'; drop table x; --").text == "'; drop table x; --"
    assert parser.parse("测试").rule == "text.test_data"


def test_codes() -> None:
    contracts = load_contracts()
    county = ColumnParser(contracts["school"].by_name["county_code"])
    for text in ("640422", "640422.0", "西吉县", "'640422", "６４０４２２", " 640422 ", "固原市西吉县", "西吉"):
        assert county.parse(text).text == "640422", text
    assert county.parse("650422").rule == "code.unknown"
    ethnicity = ColumnParser(contracts["pupil"].by_name["ethnicity_code"])
    assert ethnicity.parse("3").rule == "code.leading_zero_lost"
    assert ethnicity.parse("回").text == "03"
    grade = ColumnParser(contracts["pupil"].by_name["class_number"])
    assert grade.parse("1").text == "01"
    village = ColumnParser(contracts["poor_person"].by_name["village_code"])
    assert village.parse("64042220920").rule == "code.pattern"
    school = ColumnParser(contracts["pupil"].by_name["school_code"])
    assert school.parse("2164000123").rule is None
    assert school.parse("2165000123").rule == "code.pattern"


def test_full_width_digits_are_never_taken_as_canonical() -> None:
    column = load_contracts()["poor_person"].by_name["village_code"]
    result = ColumnParser(column).apply(pl.Series(column.name, ["６４０４２２２０９２０１"]), {})
    assert result.values.to_list() == ["640422209201"]
    assert result.counts["nfkc"] == 1


@given(st.text(max_size=30))
def test_no_text_breaks_a_parser(text: str) -> None:
    for contract in _CONTRACTS.values():
        for column in contract.columns:
            parsed = ColumnParser(column).parse(text)
            assert parsed.rule is None or parsed.rule in _RULES
            if column.code_list and parsed.text is not None:
                assert parsed.text in column.code_list.entries


@given(
    st.lists(st.sampled_from(["640422209201", "６４０４２２２０９２０１", "无", "x", "", "640422209201 "]), max_size=12)
)
def test_a_column_equals_its_values_one_by_one(texts: list[str]) -> None:
    column = _CONTRACTS["poor_person"].by_name["village_code"]
    series = pl.Series(column.name, [text or None for text in texts], dtype=pl.String)
    result = ColumnParser(column).apply(series, {})
    assert result.values.to_list() == [ColumnParser(column).parse(text).text for text in texts]


_CONTRACTS = load_contracts()
_RULES = {
    "code.unknown", "code.pattern", "code.leading_zero_lost", "type.integer", "type.date", "type.bool", "id.pattern",
    "id.placeholder", "id.scientific", "id.excel_truncated", "number.unit_text", "number.out_of_range",
    "text.test_data", "type.decimal",
}  # fmt: skip


def test_masks_show_no_personal_value() -> None:
    contract = _CONTRACTS["pupil"]
    assert shape("64990120120315002X 马小明") == "99999999999999999A 某某某"
    assert masked("马小明", contract.by_name["pupil_name"]) == "某某某"
    assert masked("649901201203150011", contract.by_name["id_number"]) == "9" * 18
    # a name or number in the wrong column
    assert "王" not in masked("王鑫", contract.by_name["grade"])
    assert masked("649901201203150011", contract.by_name["school_code"]) == "9" * 18
    assert masked("海源县", contract.by_name["county_code"]) == "海源县"
    assert masked("十三年级", contract.by_name["grade"]) == "某三年级"


def test_utf8_is_tried_before_gb18030_for_a_reason() -> None:
    assert "海原县七营镇".encode().decode("gb18030") == "娴峰師鍘夸竷钀ラ晣"
    assert load_code_lists()["counties"].find("海原县") == "640522"


def test_id_numbers_are_checked_as_python_reads_them() -> None:
    random = Random(7)
    latest = date(2020, 12, 31)
    numbers: list[str | None] = [None, "0" * 18, "64990120000229001X", "649901190002290012"]
    for _ in range(4000):
        born = (
            f"{random.choice([1899, 1900, 2000, 2019, 2020, 2021])}{random.randrange(14):02}{random.randrange(33):02}"
        )
        body = f"6499{random.randrange(100):02}{born}{random.choice([0, random.randrange(1000)]):03}"
        numbers.append(body + random.choice(["0", "X", values.id_check_character(body)]))
    found = id_problems(pl.Series(numbers, dtype=pl.String), latest)
    for place, number in enumerate(numbers):
        expected = None
        if number is not None:
            wrong = values.id_check_character(number[:17]) != number[17]
            try:
                day: date | None = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
            except ValueError:
                day = None
            if wrong and number.endswith("000"):
                expected = "id.excel_truncated"
            elif day is None or not date(1900, 1, 1) <= day <= latest:
                expected = "id.impossible_date"
            elif wrong:
                expected = "id.checksum"
        assert [rule for rule, mask in found.items() if mask[place]] == ([expected] if expected else []), number
