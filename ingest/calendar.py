"""The delivery calendar: what is due from whom for which period, and what has come of it.

What is expected, and until when, stands in the contracts: ``expected`` (who delivers how many files for which periods)
and the service levels ``timeOfAvailability`` (month and day) and ``periodLag`` (years after the period).

A delivery counts as arrived on the extract date in its file's name: the day on which the sender made it. So the
calendar of a past day can be asked for, also where edupa came into service later. The answer of a database counts on
the day of asking, for every period and sender whose rows it held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

import psycopg

from ingest.codelists import CodeList
from ingest.contract import Contract, ContractError
from ingest.names import QUERY_MARK, FileName, base_name, parse_name
from ingest.problems import FileRejectedError
from ingest.quarantine import delivery

Connection = psycopg.Connection[tuple[object, ...]]
DeliveryState = Literal["arrived", "late", "partial", "missing", "due"]

#: states in the order in which they want attention
STATES: tuple[DeliveryState, ...] = ("missing", "partial", "late", "due", "arrived")
#: beyond this share of rows in quarantine a delivery is partial (``maxQuarantinedShare`` of an expectation)
MAX_QUARANTINED_SHARE = 0.2


@dataclass(frozen=True)
class Delivery:
    """What is expected from one sender for one period, and what has arrived.

    Attributes:
        unit: code of the county; ``*`` for the province as a whole.
        unit_name: its name.
        due: last day on which it is in time; None: the contract names none, so it is never late or missing.
        arrived_on: extract date of the file with which it became whole (or of the last one, while it is not).
        files: accepted files in force; ``expected_files`` of them are wanted.
        remark: what is wrong, in words.
    """

    feed: str
    period: int
    unit: str
    unit_name: str
    due: date | None
    state: DeliveryState
    arrived_on: date | None
    loaded_at: str | None
    files: int
    expected_files: int
    rows: int
    quarantined: int
    file_name: str | None
    remark: str


@dataclass(frozen=True)
class _Load:
    load_id: int
    name: str
    parsed: FileName
    is_accepted: bool
    rows: int
    quarantined: int
    rule: str | None
    loaded_at: str
    #: what it is a delivery of: later ones of the same replace it
    key: tuple[str, ...]
    #: rows and quarantined rows of a whole answer of a database, of which this is one sender's part
    whole: tuple[int, int] | None = None


def due_date(contract: Contract, period: int) -> date | None:
    """Last day on which the files of a period are in time.

    Raises:
        ContractError: timeOfAvailability is no month and day such as 11-30.
    """
    levels: dict[str, Any] = {str(item.property): item.value for item in contract.model.slaProperties or ()}
    if (given := levels.get("timeOfAvailability")) is None:
        return None
    try:
        month, day = (int(part) for part in str(given).split("-"))
        return date(period + int(levels.get("periodLag", 0)), month, day)
    except ValueError:
        raise ContractError(f"{contract.path}:1: timeOfAvailability must be like '11-30', not {given!r}") from None


def _units(contract: Contract, item: dict[str, Any], lists: dict[str, CodeList]) -> dict[str, str]:
    """Code -> name of those who deliver."""
    if name := item.get("codeList"):
        if name not in lists:
            raise ContractError(f"{contract.path}:1: expected names no code list {name!r}")
        return {code: entry["label"] for code, entry in lists[name].entries.items()}
    return {"*": "province"}


def _read_loads(conn: Connection, contract: Contract, as_of: date) -> dict[tuple[int, str], list[_Load]]:
    """Loads of a feed by period and unit, made from extracts up to a day."""
    loads: dict[tuple[int, str], list[_Load]] = {}
    for load_id, name, status, rows, quarantined, rule, loaded_at, scopes in conn.execute(
        "select load_id, file_name, status, rows_in, rows_quarantined, rejection ->> 'rule',"
        " to_char(finished_at, 'YYYY-MM-DD HH24:MI'), scope_values from ledger.load where feed = %s order by load_id",
        (contract.feed,),
    ).fetchall():
        try:
            parsed = parse_name(str(name), contract, today=date.max)
        except FileRejectedError:
            continue
        if parsed.rank.extract_date > as_of:
            continue
        load = _Load(
            int(str(load_id)),
            str(name),
            parsed,
            status in ("landed", "unchanged"),
            int(str(rows)),
            int(str(quarantined)),
            str(rule) if rule else None,
            str(loaded_at),
            delivery(str(name), contract) or (),
        )
        if base_name(str(name)).startswith(QUERY_MARK):
            given: Any = scopes
            for place, part in _parts(contract, load, given):
                loads.setdefault(place, []).append(part)
            continue
        period = parsed.facts.get("period", parsed.rank.extract_date.year)
        loads.setdefault((int(period), str(parsed.facts.get("county_code", "*"))), []).append(load)
    return loads


def _parts(contract: Contract, load: _Load, scopes: list[dict[str, str]]) -> list[tuple[tuple[int, str], _Load]]:
    """The answer of a database, by period and unit of the rows that it held; a rejected one held none."""
    facts = {
        column.file_fact.fact: column.name
        for column in contract.columns
        if column.file_fact and column.name in contract.scope
    }
    parts = []
    for scope in scopes:
        year = str(scope[facts["period"]])[:4] if "period" in facts else str(load.parsed.rank.extract_date.year)
        unit = str(scope[facts["county_code"]]) if "county_code" in facts else "*"
        part = replace(
            load,
            # the ledger counts the answer as a whole
            rows=load.rows if len(scopes) == 1 else 0,
            quarantined=load.quarantined if len(scopes) == 1 else 0,
            key=tuple(year if name == facts.get("period") else str(scope[name]) for name in contract.scope),
            whole=(load.rows, load.quarantined),
        )
        parts.append(((int(year), unit), part))
    return parts


def _judge(
    contract: Contract, item: dict[str, Any], period: int, unit: str, name: str, loads: list[_Load], as_of: date
) -> Delivery:
    due = due_date(contract, period)
    wanted = int(item.get("files", 1))
    # of the files of one delivery the last accepted one is in force; population comes in several deliveries a period
    in_force: dict[tuple[str, ...], _Load] = {}
    first_day: dict[tuple[str, ...], date] = {}
    for load in loads:
        if load.is_accepted:
            in_force[load.key] = load
            day = load.parsed.rank.extract_date
            first_day[load.key] = min(day, first_day.get(load.key, day))
    accepted = list(in_force.values())
    rows = sum(load.rows for load in accepted)
    quarantined = sum(load.quarantined for load in accepted)
    rejected = Counter(load.rule for load in loads if not load.is_accepted and load.rule)
    days = sorted(first_day.values())
    whole_on = days[wanted - 1] if len(days) >= wanted else None
    is_over = due is not None and as_of > due
    limit = float(item.get("maxQuarantinedShare", MAX_QUARANTINED_SHARE))
    remark = ""
    state: DeliveryState
    if not accepted:
        state = "missing" if is_over else "due"
        if rejected:
            listed = ", ".join(f"{rule} ×{amount}" for rule, amount in sorted(rejected.items()))
            remark = f"{sum(rejected.values())} file(s) rejected: {listed}"
    elif whole_on is None:
        state = "partial"
        remark = f"{len(accepted)} of {wanted} files"
    elif quarantined > limit * rows:
        state = "partial"
        remark = f"{quarantined} of {rows} rows in quarantine"
    elif doubtful := next((x for x in accepted if x.whole and x.whole[1] > limit * x.whole[0]), None):
        assert doubtful.whole is not None
        state = "partial"
        remark = f"{doubtful.whole[1]} of {doubtful.whole[0]} rows of the whole query in quarantine"
    elif due is not None and whole_on > due:
        state = "late"
        remark = f"{(whole_on - due).days} days after it was due"
    else:
        state = "arrived"
    last = max(accepted, key=lambda load: load.load_id, default=None)
    if last and last.whole and not last.rows:
        remark = "; ".join(part for part in (remark, f"in a query of {last.whole[0]} rows") if part)
    return Delivery(
        feed=contract.feed,
        period=period,
        unit=unit,
        unit_name=name,
        due=due,
        state=state,
        arrived_on=whole_on or (days[-1] if days else None),
        loaded_at=last.loaded_at if last else None,
        files=len(accepted),
        expected_files=wanted,
        rows=rows,
        quarantined=quarantined,
        file_name=last.name if last else None,
        remark=remark,
    )


def calendar(
    conn: Connection, contracts: dict[str, Contract], lists: dict[str, CodeList], as_of: date, feed: str | None = None
) -> list[Delivery]:
    """Every expected delivery of periods that have begun on a day, in the order of feed, period and unit.

    Args:
        conn: as auditor or ingest.
        contracts: what is expected of whom; a contract that expects nothing is left out.
        lists: code lists that expectations name.
        as_of: the day; extracts of later days have not arrived yet.
        feed: only this feed.

    Raises:
        ContractError: an expectation or a service level cannot be read.
    """
    result = []
    for contract in contracts.values():
        if feed is not None and contract.feed != feed:
            continue
        expected: list[dict[str, Any]] = contract.custom.get("expected") or []
        loads = _read_loads(conn, contract, as_of) if expected else {}
        for item in expected:
            for period in range(int(item["firstPeriod"]), min(int(item["lastPeriod"]), as_of.year) + 1):
                for unit, name in _units(contract, item, lists).items():
                    result.append(_judge(contract, item, period, unit, name, loads.get((period, unit), []), as_of))
    return result


def summarize(deliveries: Iterable[Delivery]) -> dict[tuple[str, int], Counter[DeliveryState]]:
    """Number of deliveries in each state, by feed and period."""
    cells: dict[tuple[str, int], Counter[DeliveryState]] = {}
    for item in deliveries:
        cells.setdefault((item.feed, item.period), Counter())[item.state] += 1
    return cells
