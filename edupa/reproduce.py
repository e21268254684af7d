"""Build an old release again from landing as it was known then, beside everything, and compare it byte for byte."""

from __future__ import annotations

from dataclasses import dataclass

from edupa import pipeline
from edupa.progress import say
from edupa.settings import Settings
from warehouse.canonical import ReleaseError
from warehouse.locks import writer_lock
from warehouse.reproduce import Difference, Recipe, compare_with_seal, drop_schemas, prefix_of, read_recipe


class NotTheSameError(ReleaseError):
    """Code, seeds or contracts are others than those of the release; the message says what to check out."""


@dataclass(frozen=True)
class Reproduction:
    """What came of it.

    Attributes:
        release_id: the release.
        tables: marts compared.
        changed: what is other than it was for the release: code, seeds, contracts.
        differences: what came out otherwise; empty: identical bytes.
    """

    release_id: str
    tables: int
    changed: list[str]
    differences: list[Difference]


def what_changed(recipe: Recipe) -> list[str]:
    """Which of code, seeds and contracts are others than those of the release, in words."""
    now = {
        "seeds": (pipeline.seeds_sha256(), recipe.seeds_sha256),
        "contracts": (pipeline.contracts_sha256(), recipe.contracts_sha256),
    }
    changed = [
        f"{name}: {str(here)[:16]} here, {str(then)[:16]} in the release"
        for name, (here, then) in now.items()
        if here != then
    ]
    commit = pipeline.git_commit()
    if commit != recipe.git_commit:
        changed.append(f"code: commit {commit or 'unknown'} here, {recipe.git_commit or 'unknown'} in the release")
    return changed


def reproduce(settings: Settings, release_id: str, *, anyway: bool = False, keep: bool = False) -> Reproduction:
    """Build a release again as of the last load that it knows of, and compare every mart with its seal.

    Loads may go on meanwhile: what they bring is later than what the release knows.

    Args:
        settings: where everything is.
        release_id: the release.
        anyway: also with other code, seeds or contracts than the release was made with.
        keep: leave the schemas for a closer look (`edupa housekeeping sweep` drops them).

    Raises:
        NotTheSameError: code, seeds or contracts are others, and ``anyway`` was not said; nothing was built.
        ReleaseError: there is no such release, or it does not say as of which load it was built.
        warehouse.transform.TransformError: dbt failed.
    """
    from disclosure.plan import restore_decisions
    from warehouse.transform import make_candidate_schema, run_dbt

    recipe = read_recipe(settings.warehouse, release_id)
    changed = what_changed(recipe)
    for line in changed:
        say(f"  ! {line}")
    if changed and not anyway:
        raise NotTheSameError(
            f"release {release_id} was made with other {', '.join(line.split(':')[0] for line in changed)}: check out"
            f" commit {recipe.git_commit or '(unknown)'} in a folder of its own and run this there with the same"
            " EDUPA_HOME, or say --anyway"
        )
    prefix = prefix_of(release_id)
    marts = f"{prefix}marts"
    variables: dict[str, object] = {
        "evaluation_year": recipe.evaluation_year,
        "as_of_load_id": recipe.as_of_load_id,
        "schema_prefix": prefix,
        "candidate_schema": marts,
    }
    without_tests = ["--exclude-resource-type", "test", "--exclude-resource-type", "unit_test"]
    with writer_lock(settings.warehouse, "transform", "reproduce", release_id):
        drop_schemas(settings.warehouse, prefix)
        try:
            say(f"reproduce {release_id}: building landing as of load {recipe.as_of_load_id} in {prefix}* …")
            run_dbt(
                ["build", "--exclude", "path:models/marts", *without_tests],
                settings.warehouse,
                variables=variables,
                workspace="dbt_reproduce",
            )
            # what earlier releases gave away decided what this one could show: its own marks are that decision
            restore_decisions(settings.warehouse, release_id, prefix)
            make_candidate_schema(settings.warehouse, marts)
            run_dbt(
                ["build", "--select", "path:models/marts", *without_tests],
                settings.warehouse,
                variables=variables,
                workspace="dbt_reproduce",
            )
            differences = compare_with_seal(settings.warehouse, recipe, marts)
        finally:
            if not keep:
                drop_schemas(settings.warehouse, prefix)
    return Reproduction(release_id, len(recipe.seals), changed, differences)
