"""Fuzz the csv and workbook readers and all that follows them, without a database.

From the golden delivery, files are damaged at random, read and checked. What must hold: no exception but a rejection,
no file that takes longer than a few seconds, and every row the file holds accounted for: quarantined, skipped, a
duplicate, or good; for a csv also against an independent count of its records.

``make fuzz-readers`` runs it for some minutes; a finding is kept as a file and its seed printed.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import ingest
from ingest import Contract, csv_reader
from tests.ingest.golden import csv_text
from tests.ingest.matrix.night import NAMES, golden
from tests.ingest.matrix.old_excel import xls_bytes

#: no damaged file of this size may take longer
TIME_LIMIT_S = 10
FEEDS = ("pupil", "enrollment_count", "poor_person", "student_event")
_TOKENS = (
    b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\x85", b"\xe2\x80\xa8", b";", b"\t",
    b"\x81\x30\x81\x30", b"\xa3\xac", "，".encode(), "合计".encode(), "填报人:".encode(), b"'", b"\\N", b"1e309",
    b"\x1a", b"-", b"9" * 40, b"NaN", "　".encode(), "\u202e".encode(), b"\x0b", b"\x0c", b"\x1c", b" ",
)  # fmt: skip


class HangError(Exception):
    """A file took longer than TIME_LIMIT_S."""


def _alarm(number: int, frame: FrameType | None) -> None:
    raise HangError


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes with one to eight damages."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        size = len(content)
        at = rng.randrange(size + 1)
        end = min(size, at + rng.choice((1, 2, 5, 40, 400)))
        match rng.randrange(9):
            case 0:
                del content[at:end]
            case 1:
                content[at:at] = rng.choice(_TOKENS)
            case 2:
                content[at:end] = rng.choice(_TOKENS)
            case 3:
                content[at:at] = content[at:end]
            case 4 if at < size:
                content[at] ^= 1 << rng.randrange(8)
            case 5:
                content[at:] = b""
            case 6:
                other = rng.randrange(size + 1)
                content[at:at] = content[other : other + 200]
            case 7:
                content[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
            case 8:
                old, new = rng.choice(_TOKENS), rng.choice(_TOKENS)
                content = bytearray(bytes(content).replace(old, new, rng.choice((1, 3, -1))))
    return bytes(content[: 4 * 1024 * 1024])


def _cell(value: Any, rng: random.Random) -> Any:
    """A cell of a workbook, now and then another one."""
    if rng.random() > 0.03:
        return value
    return rng.choice(
        [
            "",
            0.0,
            -1.5,
            1e308,
            123456789012345678.0,
            42000.0,
            "合计",
            "测试",
            "9" * 40,
            "\u200b",
            "a\nb",
            "无",
            "=1",
            "学年",
        ]
    )


def workbook(feed: str, rng: random.Random) -> bytes:
    """An xlsx with cells, sheets, merges and blanks at random, then perhaps damaged in one of its parts."""
    import xlsxwriter

    rows = golden(feed)
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, "nan_inf_to_errors": True})
    for number in range(rng.choice((1, 1, 1, 2))):
        sheet = book.add_worksheet(f"表{number}")
        line = rng.choice((0, 0, 1, 3))
        if line and rng.random() < 0.5:
            sheet.merge_range(0, 0, 0, 5, "某县统计表")
        for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]:
            for column, value in enumerate(row.values()):
                cell = _cell(value, rng)
                if cell != "":
                    sheet.write(line, column, cell)
            line += 1 + (rng.random() < 0.03)
        for _ in range(rng.randrange(3)):
            top, left = rng.randrange(30), rng.randrange(20)
            try:
                sheet.merge_range(top, left, top + rng.randrange(3), left + rng.randrange(1, 3), "并")
            except xlsxwriter.exceptions.OverlappingRange:
                continue
        if rng.random() < 0.05:
            sheet.write_formula(rng.randrange(40), rng.randrange(40), "=1+1")
    book.close()
    content = out.getvalue()
    if rng.random() < 0.4:
        content = _damage_part(content, rng)
    return mutate(content, rng) if rng.random() < 0.15 else content


def _damage_part(content: bytes, rng: random.Random) -> bytes:
    """A workbook one of whose XML parts is damaged inside an intact zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        names = source.namelist()
        chosen = rng.choice([name for name in names if name.startswith("xl/")])
        for name in names:
            data = source.read(name)
            target.writestr(name, mutate(data, rng) if name == chosen else data)
    return out.getvalue()


def old_workbook(feed: str, rng: random.Random) -> bytes:
    """An xls, its cells and its bytes changed at random."""
    rows = golden(feed, 12)
    table = [list(rows[0]), *[[_cell(str(value), rng) for value in row.values()] for row in rows]]
    content = xls_bytes({"表": table}, is_1904=rng.random() < 0.05)
    return mutate(content, rng) if rng.random() < 0.7 else content


def text_file(feed: str, rng: random.Random) -> bytes:
    """A csv in one of the encodings, damaged."""
    encoding = rng.choice(("utf-8", "utf-8-sig", "gb18030"))
    text = csv_text(golden(feed), end=rng.choice(("\n", "\r\n", "\r")))
    if rng.random() < 0.3:
        text = text.replace(",马", ',"马\n', 3).replace("山,", '山",', 3)
    content = mutate(text.encode(encoding), rng)
    if rng.random() < 0.7:
        # keep the encoding whole, so that the damage reaches the rows
        content = content.decode(encoding, errors="ignore").encode(encoding)
    return content


MAKERS: dict[str, Callable[[str, random.Random], bytes]] = {"csv": text_file, "xlsx": workbook, "xls": old_workbook}


def count_records(content: bytes, encoding: str) -> int:
    """Records of a csv counted by Python's reader, blank ones too."""
    text = content.decode(encoding)
    return sum(1 for _ in csv.reader(io.StringIO(text, newline="")))


def examine(path: Path, contracts: dict[str, Contract]) -> tuple[str, str]:
    """Read and check one file.

    Returns:
        Its status and, of a rejection, the rule.

    Raises:
        AssertionError: a row is unaccounted for, or a message is not fit to be shown.
        Exception: whatever the reader let through.
    """
    checked = ingest.check_file(path, contracts, max_findings=5)
    report = checked.report
    if report.rejection is not None:
        assert report.rejection.message_zh
        assert "\x00" not in str(report.rejection)
        return "rejected", report.rejection.rule
    assert report.rows_in == report.rows_landed + report.rows_quarantined + report.rows_exact_duplicate
    assert min(report.rows_in, report.rows_landed, report.rows_quarantined, report.rows_exact_duplicate) >= 0
    if path.suffix == ".csv" and report.encoding:
        content = path.read_bytes()
        records = count_records(content, report.encoding)
        # one header row at least, two at most
        seen = report.rows_in + report.rows_skipped
        assert records - 2 <= seen <= records, f"{records} records, {seen} accounted for"
    return "checked", ""


def run(
    seconds: float, seed: int, formats: tuple[str, ...], *, most: int | None = None
) -> tuple[Counter[str], list[str]]:
    """Fuzz for so long or so many files.

    Returns:
        Files by format and outcome, and the findings.
    """
    contracts = ingest.load_contracts()
    outcomes: Counter[str] = Counter()
    block_bytes = csv_reader.BLOCK_BYTES
    findings: list[str] = []
    signal.signal(signal.SIGALRM, _alarm)
    deadline = time.monotonic() + seconds
    number = 0
    with tempfile.TemporaryDirectory(prefix="edupa-fuzz-") as folder:
        while time.monotonic() < deadline and (most is None or number < most):
            rng = random.Random(f"{seed}/{number}")
            kind, feed = formats[number % len(formats)], rng.choice(FEEDS)
            path = Path(folder) / Path(NAMES[feed]).with_suffix(f".{kind}").name
            path.write_bytes(MAKERS[kind](feed, rng))
            # small blocks, so that quotes, line ends and characters fall on the seams between them
            csv_reader.BLOCK_BYTES = rng.choice((61, 997, 4096, 4 * 1024 * 1024))
            signal.alarm(TIME_LIMIT_S)
            try:
                status, rule = examine(path, contracts)
                outcomes[f"{kind} {status} {rule}".rstrip()] += 1
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a finding, also a panic of Rust code, which is no Exception
                kept = Path(tempfile.gettempdir()) / f"edupa-fuzz-{seed}-{number}.{kind}"
                kept.write_bytes(path.read_bytes())
                place = traceback.extract_tb(error.__traceback__)[-1]
                findings.append(
                    f"seed {seed}/{number} {feed}: {type(error).__name__} at {Path(place.filename).name}:"
                    f"{place.lineno}: {str(error)[:200]}; kept as {kept}"
                )
                outcomes[f"{kind} FINDING"] += 1
            finally:
                signal.alarm(0)
            path.unlink()
            number += 1
    csv_reader.BLOCK_BYTES = block_bytes
    return outcomes, findings


def main() -> int:
    """Fuzz, print what became of the files, fail on findings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--formats", nargs="+", choices=sorted(MAKERS), default=["csv", "csv", "xlsx", "xls"])
    options = parser.parse_args()
    outcomes, findings = run(options.seconds, options.seed, tuple(options.formats))
    for outcome, amount in sorted(outcomes.items()):
        print(f"{amount:8d}  {outcome}")
    print(f"{sum(outcomes.values()):8d}  files, seed {options.seed}, {len(findings)} findings")
    for finding in findings[:50]:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
