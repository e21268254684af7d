"""The tutorial works: its commands are run in order, and they print what it says they print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from warehouse.config import PROJECT_ROOT

TUTORIAL = PROJECT_ROOT / "docs" / "tutorial_new_feed.md"
MARK = "@@@ block"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the server's account may enter."""
    folder = Path(tempfile.mkdtemp(prefix="edupa-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def test_the_commands_print_what_the_tutorial_says(place: Path) -> None:
    blocks = re.findall(r"```(sh|text)\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), flags=re.DOTALL)
    commands = [text for kind, text in blocks if kind == "sh"]
    assert len(commands) > 8
    script = "set -euo pipefail\n" + "".join(f'echo "{MARK} {n}"\n{text}' for n, text in enumerate(commands))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDUPA_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "EDUPA_DURABLE": "0",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Traceback" not in done.stdout
    printed = [text.split("\n", 1)[1] for text in done.stdout.split(MARK)[1:]]
    assert len(printed) == len(commands)
    number = -1
    for kind, text in blocks:
        if kind == "sh":
            number += 1
            continue
        lines = [squeezed(line) for line in printed[number].splitlines()]
        position = 0
        for line in filter(None, map(squeezed, text.splitlines())):
            pattern = ".*".join(re.escape(part.strip()) for part in line.split("…"))
            found = next((n for n in range(position, len(lines)) if re.search(pattern, lines[n])), None)
            assert found is not None, f"not printed by block {number}: {line}\n{printed[number]}"
            position = found + 1


def test_the_tutorial_invents_its_people() -> None:
    text = TUTORIAL.read_text(encoding="utf-8")
    numbers = set(re.findall(r"\b\d{17}[\dX]\b", text))
    assert numbers
    assert all(number.startswith("6499") for number in numbers), "only numbers on the unassigned prefix"
