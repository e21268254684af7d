"""Read docker-compose.yml as Compose does: YAML with merge keys, then ``${VAR}`` by the rules of the specification."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<operator>:?[-?+])(?P<operand>[^}]*))?\}|(?P<plain>[A-Za-z_]\w*))"
)


class MissingVariableError(ValueError):
    """A variable is used that has neither a value nor a default."""


def read_env_file(path: Path) -> dict[str, str]:
    """Settings of an env file; comments and blank lines are skipped."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolate(text: str, variables: dict[str, str]) -> str:
    """Replace variables in one string.

    ``${V:-d}`` takes ``d`` if V is unset or empty, ``${V-d}`` if unset; ``:?`` and ``?`` refuse likewise; ``:+`` and
    ``+`` take the operand where V is set; ``$$`` is a dollar sign.

    Raises:
        MissingVariableError: no value and no default.
    """

    def replace(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["braced"] or match["plain"]
        value, operator, operand = variables.get(name), match["operator"] or "", match["operand"] or ""
        given = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return operand if given else ""
        if given:
            return value or ""
        if operator.endswith("-"):
            return operand
        raise MissingVariableError(f"{name} has no value: {operand or 'name it in .env.example'}")

    return _VARIABLE.sub(replace, text)


def resolve(node: Any, variables: dict[str, str]) -> Any:
    """Interpolate every value (never a key) of a parsed Compose file."""
    if isinstance(node, dict):
        return {key: resolve(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [resolve(value, variables) for value in node]
    return interpolate(node, variables) if isinstance(node, str) else node


def load(variables: dict[str, str] | None = None) -> dict[str, Any]:
    """The Compose file of the repository, resolved against ``variables`` (None: .env.example)."""
    given = read_env_file(ROOT / ".env.example") if variables is None else variables
    parsed = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    resolved: dict[str, Any] = resolve(parsed, given)
    return resolved
