"""Documents: generated pages are fresh, links lead somewhere, commands in the runbook exist, hooks exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.script import load_script
from warehouse.config import PROJECT_ROOT, WarehouseConfig
from warehouse.connection import connect

DOCS = PROJECT_ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *PROJECT_ROOT.glob("*.md"), PROJECT_ROOT / "deploy" / "README.md"])
make_docs: Any = load_script("tools/make_docs.py")


def test_generated_pages_are_fresh() -> None:
    assert make_docs.differences(DOCS) == []


def test_staleness_is_noticed(tmp_path: Path) -> None:
    for name, text in make_docs.all_pages().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert make_docs.differences(tmp_path) == []
    (tmp_path / "roles.md").write_text("old", encoding="utf-8")
    (tmp_path / "feeds" / "gone.md").write_text("of a feed that is no more", encoding="utf-8")
    (tmp_path / "marts" / "README.md").unlink()
    assert sorted(make_docs.differences(tmp_path)) == [
        "feeds/gone.md has no source any more",
        "marts/README.md is missing",
        "roles.md is stale",
    ]


def test_every_indicator_feed_and_mart_has_its_page() -> None:
    codes = {row["indicator_code"] for row in make_docs.read_csv(make_docs.SEEDS / "indicators.csv")}
    assert {path.stem for path in (DOCS / "indicators").glob("*.md")} == codes | {"README"}
    feeds = {path.name.removesuffix(".odcs.yaml") for path in make_docs.CONTRACTS.glob("*.yaml")}
    assert {path.stem for path in (DOCS / "feeds").glob("*.md")} == feeds | {"README"}
    marts = {path.stem for path in make_docs.MARTS.glob("*.sql")}
    assert {path.stem for path in (DOCS / "marts").glob("*.md")} == marts | {"README"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# "), "a page begins with its title"
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"`[^`]*`", "", text)):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_paths_named_in_the_documents_exist() -> None:
    folders = "dags|dbt_project|deploy|docs|edupa|evaluation|expectations|ingest|simulator|tests|tools|warehouse"
    named = 0
    for page in PAGES:
        for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text(encoding="utf-8")):
            assert (PROJECT_ROOT / path).exists(), f"{page.name} names {path}"
            named += 1
    assert named > 20


def command_lines(page: Path) -> list[str]:
    """What follows `.venv/bin/edupa` in the shell blocks of a page."""
    return re.findall(r"^\s*\.venv/bin/edupa (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_commands_of_the_documents_exist() -> None:
    from typer.main import get_command

    from edupa.cli import app

    root: Any = get_command(app)
    commands = 0
    for page in (DOCS / "runbook.md", PROJECT_ROOT / "README.md", PROJECT_ROOT / "README.zh.md"):
        for line in command_lines(page):
            words = shlex.split(line, comments=True)
            node = root
            while words and words[0] in getattr(node, "commands", {}):
                node = node.commands[words.pop(0)]
            assert not hasattr(node, "commands"), f"{page.name}: edupa {line}"
            options = {flag for parameter in node.params for flag in (*parameter.opts, *parameter.secondary_opts)}
            for word in words:
                if word.startswith("--"):
                    assert word.split("=")[0] in options, f"{page.name}: edupa {line}: {word}"
            commands += 1
    assert commands > 15


def test_queries_of_the_runbook_are_answered_for_the_role_they_name(warehouse: WarehouseConfig) -> None:
    queries = [shlex.split(line, comments=True) for line in command_lines(DOCS / "runbook.md") if line[:4] == "sql "]
    assert len(queries) == 2
    for _, flag, role, query in queries:
        assert flag == "--role"
        with connect(role, warehouse) as conn:
            assert conn.execute(query.encode()).description is not None


def test_decisions_are_numbered_without_a_gap_and_say_the_same_things() -> None:
    files = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in files] == list(range(1, len(files) + 1))
    assert len(files) >= 12
    for path in files:
        text = path.read_text(encoding="utf-8")
        for heading in ("## Decision", "## Why", "## Price"):
            assert heading in text, f"{path.name} has no {heading}"
        assert f"({path.name})" in (DOCS / "decisions" / "README.md").read_text(encoding="utf-8"), path.name


def test_hooks_run_from_the_environment_and_download_nothing() -> None:
    config = yaml.safe_load((PROJECT_ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    assert {hook["id"] for hook in hooks} >= {"ruff", "ruff-format", "mypy", "lint-imports", "sqlfluff"}
    for hook in hooks:
        assert hook["language"] == "system"
        program, *arguments = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        assert (PROJECT_ROOT / program).exists(), program
        for argument in arguments:
            if argument.endswith(".py"):
                assert (PROJECT_ROOT / argument).is_file(), argument


def test_hook_configuration_is_valid_for_pre_commit() -> None:
    from pre_commit.clientlib import load_config

    load_config(str(PROJECT_ROOT / ".pre-commit-config.yaml"))


def test_changelog_tells_the_version_of_the_project() -> None:
    import tomllib

    version = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    newest = re.search(
        r"^## \[(.+?)\] - (\d{4}-\d{2}-\d{2})$", (PROJECT_ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )
    assert newest is not None
    assert newest[1] == version


def test_no_file_of_the_project_names_a_package_registry() -> None:
    # put together here, so that this test does not find itself
    hosts = ["pypi" + ".org", "files.python" + "hosted.org", "registry.npm" + "js.org", "deb.debian" + ".org"]
    suffixes = {".py", ".md", ".yml", ".yaml", ".toml", ".lock", ".sh", ".in", ".cfg", ".txt", ""}
    checked = 0
    for path in PROJECT_ROOT.rglob("*"):
        relative = path.relative_to(PROJECT_ROOT)
        if (
            relative.parts[0] in {".git", ".venv", ".venv-bench", ".venv-bootstrap", ".edupa", "extracts", "secrets"}
            or not path.is_file()
        ):
            continue
        if (
            any(part.startswith(".") and part.endswith("_cache") for part in relative.parts)
            or path.suffix not in suffixes
        ):
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        assert not [host for host in hosts if host in text], relative
        checked += 1
    assert checked > 150
