"""The money side of the sample province: who is entitled, who was missed, what was paid, from which funds.

Truth first: the entitlements follow from the registers, then it is decided who is missed, then payments are derived.
Every draw comes from generators of this part's own, so that the other tables stay as they are without it.
"""

from __future__ import annotations

import polars as pl

from simulator.aid_documents import policy_documents
from simulator.aid_due import Tables, due_rows, persons_of_semesters
from simulator.aid_funds import fund_ledger
from simulator.aid_loans import student_loans
from simulator.aid_payments import COVERED_PERSONS, numbered, paid_rows, with_missed
from simulator.aid_people import at_college, identities, recognition_rows, recognize, with_absent_youths, with_colleges
from simulator.aid_plant import plant_payments
from simulator.plan import YEARS
from simulator.truth import primary_rows
from simulator.world import World

#: share of the missed of a year who may be youths on no roll of the province
ABSENT_OF_MISSED = 0.35


def _no_recognition(tables: Tables) -> Tables:
    schema = {
        "aid_year": pl.Int64, "county_code": pl.String, "term": pl.String, "school_code": pl.String,
        "stage": pl.String, "student_number": pl.String, "hardship_type": pl.String, "asked_work_study": pl.Boolean,
        "_token": pl.String,
    }  # fmt: skip
    return {**tables, "aid_recognition": pl.DataFrame(schema=schema)}


def add_aid(world: World, tables: Tables) -> Tables:
    """Return the tables with recognition, payments, funds, loans and documents.

    Colleges are appended to ``school``, and in ``poor_person`` the school status of a few youths on no roll changes;
    everything else stays as it was.
    """
    geo, seed = world.geo, world.seed
    counties = [c.code for c in geo.counties]
    plan_counties = [c.code for c in geo.counties if c.is_plan]
    villages = geo.current_county()
    now = pl.DataFrame({"_village": list(villages), "_home": list(villages.values())})
    primary = primary_rows(tables["pupil"], tables["student_event"])
    documents = policy_documents(geo, seed)
    tables = {**tables, "policy_document": documents, "school": with_colleges(tables["school"], geo)}

    students = at_college(tables, now, seed)
    who = identities(tables)
    persons = persons_of_semesters(_no_recognition(tables), now, primary)
    room = _room(due_rows(persons, documents, counties, plan_counties))
    rolls = tables["pupil"].select("_token", start="school_year").unique()
    away = pl.concat([rolls, students.select("_token", "start").unique()]).unique()
    tables["poor_person"] = with_absent_youths(tables["poor_person"], away, room, seed)
    tables["aid_recognition"] = recognize(persons, students, who, seed)
    persons = persons_of_semesters(tables, now, primary)
    due = with_missed(due_rows(persons, documents, counties, plan_counties), seed)
    paid = paid_rows(due, who, tables, seed)
    paid, more = plant_payments(paid, persons, who, primary, tables, world.plan.scale, seed)
    tables["aid_payment"] = numbered(paid)
    tables["aid_recognition"] = pl.concat([tables["aid_recognition"], recognition_rows(more)]).sort(
        "aid_year", "county_code", "term", "school_code", "student_number"
    )
    tables["student_loan"] = student_loans(tables, students, who, now, seed)
    tables["fund_ledger"] = fund_ledger(tables, primary, geo, world.plan.scale, seed)
    return tables


def _room(due: pl.DataFrame) -> dict[int, int]:
    """Return how many youths of each list may be away without the coverage of persons falling below its plan."""
    persons = due.filter("strict").select("aid_year", "term", "_token").unique()
    counts = dict(persons.group_by("aid_year").len().iter_rows())
    missed = {y: counts.get(y, 0) * (1 - COVERED_PERSONS[y]) for y in YEARS}
    # A list serves the autumn of its year and the spring after.
    return {y: int(ABSENT_OF_MISSED * min(missed[y], missed.get(y + 1, missed[y])) / 2) for y in YEARS}
