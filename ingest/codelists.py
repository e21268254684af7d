"""Code lists: one CSV each, ``code,label,aliases`` and, where a check needs them, further columns."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from ingest.values import nfkc, no_space

FOLDER = Path(__file__).parent / "codelists"


class CodeListError(ValueError):
    """A code list is broken; the message names file and line."""


@dataclass(frozen=True)
class CodeList:
    """Codes with every spelling under which they arrive.

    Attributes:
        name: file name without extension.
        entries: code -> row of the CSV.
        lookup: normalized spelling (code, label, alias) -> code.
        vocabulary: characters of all spellings; only these are shown when an unknown value is reported.
    """

    name: str
    entries: dict[str, dict[str, str]]
    lookup: dict[str, str] = field(repr=False)
    vocabulary: frozenset[str] = field(repr=False)

    def find(self, text: str) -> str | None:
        """Code for a spelling, or None."""
        return self.lookup.get(spelling(text))


def spelling(text: str) -> str:
    """The form in which spellings are compared: NFKC, no blanks, upper case."""
    return no_space(nfkc(text)).upper()


def load_code_list(path: Path) -> CodeList:
    """Read a code list.

    Raises:
        CodeListError: a column is missing, a code is repeated, or one spelling stands for two codes.
    """
    entries: dict[str, dict[str, str]] = {}
    lookup: dict[str, str] = {}
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        if not {"code", "label", "aliases"} <= set(reader.fieldnames or ()):
            raise CodeListError(f"{path}:1: columns code, label and aliases are required")
        for row in reader:
            code = row["code"]
            if not code or code in entries or None in row:
                raise CodeListError(f"{path}:{reader.line_num}: empty or repeated code, or a field too many: {code!r}")
            entries[code] = row
            for text in (code, row["label"], *row["aliases"].split("|")):
                if not text:
                    continue
                key = spelling(text)
                if lookup.setdefault(key, code) != code:
                    raise CodeListError(
                        f"{path}:{reader.line_num}: {text!r} stands for {lookup[key]!r} and for {code!r}"
                    )
    return CodeList(path.stem, entries, lookup, frozenset("".join(lookup)))


def load_code_lists(folder: Path = FOLDER) -> dict[str, CodeList]:
    """All code lists of a folder, by name."""
    return {path.stem: load_code_list(path) for path in sorted(folder.glob("*.csv"))}
