"""Entitlements and semesters as the plan and the national rules have them: the sample's own copy, read by no SQL."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from simulator.plan import YEARS

SPRING, AUTUMN = "spring", "autumn"
TERMS = (SPRING, AUTUMN)
ORDINARY, TILT, UNIVERSAL = "ordinary", "tilt", "universal"
POOR, BOARDER, EVERY, APPLICANT = "registered_poor", "registered_poor_boarder", "every_pupil", "applicant"
REGION_WIDE, PLAN_COUNTIES, GUYUAN, BY_POLICY = "region", "plan_counties", "city:6404", "county_policy"
GUYUAN_CITY = "6404"
#: hardship of the national rule beside the poverty list
BROAD_TYPES = ("subsistence", "destitute", "disabled")
#: wording of 在校生状况 on the list → stage of a person who stands on no roll
STAGE_OF_STATUS = {
    "高中一年级": "senior", "高中二年级": "senior", "高中三年级": "senior", "中职": "vocational",
}  # fmt: skip
NO_PUPIL = ("非在校生", "学龄前儿童")


@dataclass(frozen=True)
class Item:
    """One component of an entitlement.

    Attributes:
        code: code of the component, as paid.
        plan: code in the plan (documents name it), empty for ordinary aid.
        tier: ordinary, tilt or universal.
        stage: stage of education; grades: grade codes, empty for all.
        who: whom it is for.
        scope: where the school must lie.
        yuan: whole yuan a semester.
        since: first semester (year, term).
        waived: True where the fee is waived and no money is paid out.
    """

    code: str
    plan: str
    tier: str
    stage: str
    who: str
    scope: str
    yuan: int
    since: tuple[int, str] = (2015, AUTUMN)
    grades: tuple[str, ...] = ()
    waived: bool = False


_LAST_TWO = ("PRE2", "PRE3")
ITEMS = (
    Item("OR01", "", ORDINARY, "preschool", POOR, REGION_WIDE, 500, grades=_LAST_TWO),
    Item("OR02P", "", ORDINARY, "primary", BOARDER, REGION_WIDE, 500),
    Item("OR02J", "", ORDINARY, "junior", BOARDER, REGION_WIDE, 625),
    Item("OR03", "", ORDINARY, "senior", POOR, REGION_WIDE, 1000),
    Item("OR04", "", ORDINARY, "vocational", POOR, REGION_WIDE, 1000),
    Item("OR05", "", ORDINARY, "higher", POOR, REGION_WIDE, 1500),
    Item("EN01", "EN01", TILT, "preschool", POOR, PLAN_COUNTIES, 900, (2016, SPRING), _LAST_TWO, waived=True),
    Item("EN02", "EN02", TILT, "preschool", POOR, BY_POLICY, 900, grades=_LAST_TWO, waived=True),
    Item("EN06", "EN06", TILT, "senior", POOR, REGION_WIDE, 400, (2016, AUTUMN), waived=True),
    Item("EN07B", "EN07", TILT, "senior", POOR, BY_POLICY, 300, waived=True),
    Item("EN07D", "EN07", TILT, "senior", POOR, BY_POLICY, 150, waived=True),
    Item("EN08A", "EN08", UNIVERSAL, "vocational", EVERY, GUYUAN, 200, (2016, AUTUMN), waived=True),
    Item("EN08B", "EN08", UNIVERSAL, "vocational", EVERY, GUYUAN, 200, (2016, AUTUMN), waived=True),
    Item("EN08C", "EN08", UNIVERSAL, "vocational", EVERY, GUYUAN, 750, (2016, AUTUMN)),
    Item("EN09A", "EN09", UNIVERSAL, "vocational", EVERY, BY_POLICY, 200, waived=True),
    Item("EN09B", "EN09", UNIVERSAL, "vocational", EVERY, BY_POLICY, 200, waived=True),
    Item("EN09C", "EN09", UNIVERSAL, "vocational", EVERY, BY_POLICY, 750),
    Item("EN10A", "EN10", TILT, "higher", POOR, REGION_WIDE, 2100, (2016, AUTUMN), waived=True),
    Item("EN10B", "EN10", TILT, "higher", POOR, REGION_WIDE, 1500, (2016, AUTUMN)),
    Item("EN11", "EN11", TILT, "higher", APPLICANT, REGION_WIDE, 600, (2016, AUTUMN)),
)
ITEM = {item.code: item for item in ITEMS}
#: by plan code, where a document does not count because another rule holds there
EXCEPT_PLAN_COUNTIES, EXCEPT_GUYUAN = ("EN02",), ("EN09",)


def order_of(year: int, term: str) -> int:
    """Number the semesters in time."""
    return 2 * year + TERMS.index(term)


def semesters() -> pl.DataFrame:
    """Return the semesters in scope.

    Returns:
        ``aid_year``, ``term``, ``start`` (year of the register and of the poverty list used), ``cut_off`` (date).
    """
    spring, autumn = pl.col("term") == SPRING, pl.col("term") == AUTUMN
    return (
        pl.DataFrame(
            [(y, t) for y in YEARS for t in TERMS if order_of(y, t) >= order_of(YEARS[0], AUTUMN)],
            schema={"aid_year": pl.Int64, "term": pl.String},
            orient="row",
        )
        .with_columns(start=pl.col("aid_year") - spring.cast(pl.Int64), order=2 * pl.col("aid_year") + autumn)
        .with_columns(
            cut_off=pl.when(spring)
            .then(pl.date(pl.col("aid_year"), 3, 15))
            .otherwise(pl.date(pl.col("aid_year"), 10, 15))
        )
    )
