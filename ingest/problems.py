"""What can be wrong with a file or a row, as data: the rules, their messages, and the rejection of a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import yaml

RULES_FILE = Path(__file__).parent / "rules.yaml"


@dataclass(frozen=True)
class Rule:
    """One rule of ``rules.yaml``: what is wrong and what to do, in English and Chinese."""

    rule_id: str
    en: str
    zh: str
    fix_en: str
    fix_zh: str


@dataclass(frozen=True)
class Rejection:
    """Why a file was rejected whole; holds no personal value.

    ``line`` counts physical lines (csv) or sheet rows (xlsx) from 1.
    """

    rule: str
    file: str
    sheet: str | None
    line: int | None
    column: str | None
    message_en: str
    message_zh: str
    what_to_do: str
    what_to_do_zh: str

    def to_json(self) -> dict[str, object]:
        """The rejection as plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for people: file, place, rule, message, what to do."""
        place = self.file
        if self.sheet:
            place += f", sheet {self.sheet}"
        if self.line is not None:
            place += f", line {self.line}"
        if self.column:
            place += f", column {self.column}"
        return f"{place}: {self.rule}: {self.message_en}; {self.what_to_do}"


def _printable(text: str) -> str:
    """Text of a file that may stand in a message: no control characters (PostgreSQL stores no NUL), not endless."""
    return "".join(character if character.isprintable() else "?" for character in text[:2000])


class FileRejectedError(Exception):
    """The file breaks its contract as a whole; the message carries no personal value."""

    def __init__(
        self,
        rule: str,
        detail: str = "",
        *,
        detail_zh: str | None = None,
        sheet: str | None = None,
        line: int | None = None,
        column: str | None = None,
    ) -> None:
        """Remember rule and place; the file's name is added by whoever knows it."""
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail
        self.detail_zh = detail if detail_zh is None else detail_zh
        self.sheet = sheet
        self.line = line
        self.column = column

    def rejection(self, file_name: str) -> Rejection:
        """The rejection with its messages in both languages."""
        known = file_rules()[self.rule]
        detail, detail_zh = _printable(self.detail), _printable(self.detail_zh)
        return Rejection(
            rule=self.rule,
            file=file_name,
            sheet=self.sheet,
            line=self.line,
            column=self.column,
            message_en=known.en.replace("{detail}", detail),
            message_zh=known.zh.replace("{detail}", detail_zh),
            what_to_do=known.fix_en,
            what_to_do_zh=known.fix_zh,
        )


@cache
def _load() -> tuple[dict[str, Rule], dict[str, Rule]]:
    content = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    rows, files = (
        {rule_id: Rule(rule_id, **texts) for rule_id, texts in content[part].items()} for part in ("rows", "files")
    )
    return rows, files


def row_rules() -> dict[str, Rule]:
    """Rules that quarantine a row, by id."""
    return _load()[0]


def file_rules() -> dict[str, Rule]:
    """Rules that reject a file, by id."""
    return _load()[1]


def row_messages(
    rule_id: str, column: str, header: str, value: str, detail: str, *, difference: str = ""
) -> tuple[str, str]:
    """English and Chinese sentence for a broken row rule, each ending in what to do.

    Plain replacement, not ``str.format``: a value may hold braces.
    """
    known = row_rules()[rule_id]

    def fill(text: str) -> str:
        given = {"column": column, "header": header, "value": value, "detail": detail, "difference": difference}
        for name, content in given.items():
            text = text.replace("{" + name + "}", content)
        return text

    return f"{fill(known.en)}; {known.fix_en}", f"{fill(known.zh)}；{known.fix_zh}"
