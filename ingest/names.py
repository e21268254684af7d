"""What a file's name says, and which of two extracts of the same scope is the later one."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from ingest.contract import Contract
from ingest.problems import FileRejectedError
from warehouse import clock

#: between an archive and the file in it
MEMBER = "!"
#: starts the name of what a database was asked for; the moment of asking follows
QUERY_MARK = "query@"
_QUERY = re.compile(QUERY_MARK + r"(?P<date>\d{8})T(?P<time>\d{6})\.(?P<format>csv)$")


@dataclass(frozen=True, order=True)
class Rank:
    """Order of extracts: by extract date, then 最终版 (final), then the number in parentheses."""

    extract_date: date
    is_final: bool
    number: int


@dataclass(frozen=True)
class FileName:
    """Facts of a file's name: named groups of the contract's pattern, dates and years typed."""

    facts: dict[str, Any]
    rank: Rank


@lru_cache(1 << 14)
def base_name(name: str) -> str:
    """Last part of a relative name, in an archive or not, in composed Unicode."""
    return unicodedata.normalize("NFC", name.replace(MEMBER, "/").rstrip("/").rpartition("/")[2])


def parse_name(name: str, contract: Contract, today: date | None = None) -> FileName:
    """Take the facts from a file's name.

    Args:
        name: relative name; only its last part counts.
        contract: pattern and county list.
        today: an extract from the future is refused; default: today in China.

    Raises:
        FileRejectedError: file.name, county.unknown, county.mismatch.
    """
    base = base_name(name)
    if asked := _QUERY.match(base):
        # rows say themselves which scope they belong to; a later answer of the same day supersedes an earlier one
        moment = datetime.strptime(asked["date"], "%Y%m%d").date()
        return FileName(
            {"extract_date": moment, "format": asked["format"]}, Rank(moment, is_final=False, number=int(asked["time"]))
        )
    found = contract.file_pattern.match(base)
    if not found:
        example = contract.custom["fileName"].get("example", "")
        raise FileRejectedError("file.name", f"expected a name like {example}", detail_zh=f"应形如{example}")
    groups = {key: value for key, value in found.groupdict().items() if value is not None}
    try:
        extract = datetime.strptime(groups["extract_date"], "%Y%m%d").date()
    except ValueError:
        raise FileRejectedError(
            "file.name",
            f"{groups['extract_date']} is not a date",
            detail_zh=f"{groups['extract_date']}不是日期",
        ) from None
    current = today or clock.today()
    if extract > current:
        raise FileRejectedError(
            "file.name", f"the extract date {extract} lies in the future", detail_zh=f"导出日期{extract}在未来"
        )
    facts: dict[str, Any] = {**groups, "extract_date": extract}
    if "period" in groups:
        facts["period"] = int(groups["period"])
    if contract.county_list and "county_code" in groups:
        code, label = groups["county_code"], groups.get("county_name", "")
        if code not in contract.county_list.entries:
            raise FileRejectedError("county.unknown", code, column="county_code")
        named = contract.county_list.find(label)
        if named is None:
            raise FileRejectedError("county.unknown", label, column="county_name")
        if named != code:
            raise FileRejectedError("county.mismatch", f"{code} and {label}", detail_zh=f"{code}与{label}")
    suffix = groups.get("suffix", "")
    numbers = [int(number) for number in re.findall(r"\d+", suffix)]
    return FileName(facts, Rank(extract, "最终版" in suffix, max(numbers, default=0)))
