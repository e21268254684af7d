"""A small invented province for the matching: households on a poverty list, pupils on a register, and damaged numbers.

Written straight into landing and vault, as ingest leaves them; who is whom is known.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl
from psycopg import sql

from ingest.landing import copy_in
from simulator.identity import GIVEN, SURNAMES, check_character
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

YEAR = 2016
#: kinds of damage of one child in one feed, with their weight; what must be matched, and what must at least be held
MATCHED = {
    "number missing on the list": 5,
    "number missing in the register": 5,
    "number missing on both sides": 2,
    "one digit wrong": 4,
    "guardian's number typed in": 2,
    "number missing, name without its dot": 1,
    "number missing, a character unreadable": 1,
    "number missing, day and month swapped": 1,
    "number missing, guardian unknown": 4,
    "number missing, one character of the name wrong": 1,
}
HELD = {"number missing, another name": 1, "number missing, two digits of the birth date wrong": 1}


@dataclass
class Child:
    """A child as it is; ``kind``: how its number was damaged."""

    name: str
    birth: date
    female: bool
    village: str
    household: int
    guardian: str
    number: str
    is_poor: bool
    on_roll: bool = True
    kind: str = ""


@dataclass
class Province:
    """Rows of both feeds, the vault, and the truth: poor token -> (pupil token, kind of damage)."""

    poor: list[dict[str, object]] = field(default_factory=list)
    pupils: list[dict[str, object]] = field(default_factory=list)
    vault: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    truth: dict[str, tuple[str, str]] = field(default_factory=dict)

    def known(self, kind: str, identifier: str, name: str) -> str:
        """Token of an identifier; the vault learns it."""
        token = hashlib.sha256(identifier.encode()).hexdigest()
        self.vault.setdefault(token, (kind, identifier, name))
        return token


class Maker:
    """Draws people."""

    def __init__(self, seed: int) -> None:
        """Begin with a seed."""
        self.random = random.Random(seed)
        self.used: Counter[str] = Counter()
        self.villages = [
            f"6404{county:02d}{town:03d}{village:03d}"
            for county in (2, 22, 23, 24, 25)
            for town in range(101, 111)
            for village in range(201, 209)
        ]

    def name(self) -> str:
        """A name of two or three characters; of some families one with a dot."""
        if self.random.random() < 0.02:
            return self.random.choice(["阿依舍", "法图麦", "尔撒"]) + "·" + self.random.choice(["买买提", "哈山"])
        surname = self.random.choices([one for one, _ in SURNAMES], [weight for _, weight in SURNAMES])[0]
        return surname + "".join(self.random.choices(GIVEN, k=1 if self.random.random() < 0.25 else 2))

    def number(self, birth: date, female: bool) -> str:
        """A valid ID number of the synthetic prefix, never twice."""
        stem = f"6499{self.random.randint(1, 9):02d}{birth:%Y%m%d}"
        self.used[stem] += 1
        body = f"{stem}{(2 * self.used[stem] + 1 - female) % 1000:03d}"
        return body + check_character(body)

    def birth(self, oldest: int, youngest: int) -> date:
        """A day of birth of somebody of that age."""
        return date(YEAR - youngest, 8, 31) - timedelta(days=self.random.randint(0, 365 * (oldest - youngest)))

    def household(self, number: int, is_poor: bool) -> list[Child]:
        """Children of one household with one guardian; one household in twenty has twins."""
        village = self.random.choice(self.villages)
        guardian = self.number(self.birth(60, 30), self.random.random() < 0.3)
        children = []
        for _ in range(self.random.choice([1, 1, 2, 2, 3])):
            birth, female = self.birth(18, 4), self.random.random() < 0.5
            times = 2 if self.random.random() < 0.05 else 1
            for _ in range(times):
                children.append(
                    Child(self.name(), birth, female, village, number, guardian, self.number(birth, female), is_poor)
                )
        return children


def _off_by_one(number: str) -> str:
    """The number with one digit of its sequence wrong, sex and check character still right."""
    body = number[:14] + str((int(number[14]) + 1) % 10) + number[15:17]
    return body + check_character(body)


def _other_day(birth: date) -> date:
    return birth.replace(year=birth.year - 1) + timedelta(days=17)


def make_province(seed: int, poor: int, others: int, damaged_share: float) -> Province:
    """Make households, damage the numbers of a share of the poor pupils, and write both feeds.

    Args:
        seed: of the draw.
        poor: poor households.
        others: other households.
        damaged_share: of the poor pupils.
    """
    maker = Maker(seed)
    draw = maker.random
    made = Province()
    kinds = {**MATCHED, **HELD}
    households = [maker.household(number, number < poor) for number in range(poor + others)]
    for number, children in enumerate(households):
        for child in children:
            # some poor children are on no roll; some of these have no number either
            child.on_roll = not child.is_poor or draw.random() >= 0.03
            if child.is_poor and draw.random() < damaged_share:
                child.kind = draw.choices(list(kinds), list(kinds.values()))[0]
        guardian = children[0].guardian
        head = made.known("id_number", guardian, maker.name())
        if number < poor:
            _list(made, number, f"{number:08d}00", children[0].village, head, "id_number", date(1975, 5, 6), "1")
        for place, child in enumerate(children, 1):
            _write(made, child, place, head, draw)
    return made


def _list(
    made: Province, number: int, person: str, village: str, token: str, basis: str, birth: date, sex: str
) -> None:
    made.poor.append(
        {
            "poverty_year": YEAR, "county_code": village[:6], "village_code": village,
            "household_number": f"{number:08d}", "person_number": person, "person_token": token, "token_basis": basis,
            "sex": sex, "birth_date": birth, "school_status": "小学", "poverty_status": "in_poverty",
        }
    )  # fmt: skip


def _write(made: Province, child: Child, place: int, head: str, draw: random.Random) -> None:
    kind = child.kind
    listed, enrolled = child.number, child.number
    name, birth, guardian = child.name, child.birth, head
    on_list = "" if kind.startswith(("number missing on the list", "number missing on both", "guardian's")) else listed
    if kind.startswith(("number missing in the register", "number missing on both", "number missing,")):
        enrolled = ""
    if kind == "one digit wrong":
        on_list = _off_by_one(child.number)
    if kind == "number missing, name without its dot":
        child.name, name = "阿依舍·哈山", "阿依舍哈山"
    if kind == "number missing, a character unreadable":
        name = child.name[:-1] + "〓"
    if kind == "number missing, one character of the name wrong":
        name = child.name[:-1] + ("波" if child.name[-1] != "波" else "兰")
    if kind == "number missing, another name":
        name = "麦苗青"
    if kind == "number missing, day and month swapped":
        child.birth = birth = child.birth.replace(month=5, day=9)
        birth = birth.replace(month=9, day=5)
        on_list = ""
    if kind == "number missing, two digits of the birth date wrong":
        birth = _other_day(child.birth)
    if kind == "number missing, guardian unknown":
        guardian = ""
    sex = "2" if child.female else "1"
    if child.is_poor:
        basis = "id_number" if on_list else "surrogate"
        text = on_list or f"surrogate:poor_person\x1f{child.name}\x1f{child.birth}\x1f{child.household}"
        poor = made.known(basis, text, child.name)
        _list(made, child.household, f"{child.household:08d}{place:02d}", child.village, poor, basis, child.birth, sex)
    if not child.on_roll:
        return
    basis = "id_number" if enrolled else "surrogate"
    pupil = made.known(basis, enrolled or f"surrogate:pupil\x1f{name}\x1f{birth}\x1f{guardian}", name)
    made.pupils.append(
        {
            "school_year": f"{YEAR}/{YEAR % 100 + 1}", "county_code": child.village[:6],
            "school_code": f"2164000{draw.randint(100, 199)}", "student_number_token": pupil[::-1],
            "person_token": pupil, "token_basis": basis, "sex": sex, "birth_date": birth,
            "home_area_code": child.village, "guardian_token": guardian or None, "stage": "primary", "grade": "P1",
        }
    )  # fmt: skip
    if child.is_poor and kind:
        made.truth[poor] = (pupil, kind)


def _land(rows: list[dict[str, object]], key: list[str], load_id: int) -> pl.DataFrame:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.with_columns(
        load_id=pl.lit(load_id, dtype=pl.Int64),
        source_line=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
        scope_key=pl.lit("x"),
        record_key=pl.concat_str(key, separator="|"),
        record_hash=pl.lit("x"),
    )


def land(made: Province, config: WarehouseConfig, *, loads: tuple[int, int] = (1, 2), reverse: bool = False) -> None:
    """Write a province into landing, vault and the ledger, as two loads, in any order of rows."""
    step = -1 if reverse else 1
    poor = _land(made.poor[::step], ["county_code", "person_number"], loads[0])
    pupils = _land(made.pupils[::step], ["school_code", "student_number_token"], loads[1])
    vault = pl.DataFrame(
        [
            {
                "person_token": token, "identifier_kind": kind, "identifier": identifier, "person_name": name,
                "token_basis": kind, "key_id": "k", "first_load_id": 1,
            }
            for token, (kind, identifier, name) in made.vault.items()
        ]
    )  # fmt: skip
    with connect("ingest", config) as conn:
        for feed, frame in (("poor_person", poor), ("pupil", pupils)):
            conn.execute(sql.SQL("truncate {}").format(sql.Identifier("landing", feed)))
            copy_in(conn, sql.Identifier("landing", feed), frame)
        conn.execute("truncate vault.person_identity")
        copy_in(conn, sql.Identifier("vault", "person_identity"), vault)
