"""``edupa worklist``: the cases of a county as a spreadsheet to work from, taken as that county's own login."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edupa.cli_common import plainly
from edupa.settings import load_settings

Kind = Annotated[str, typer.Argument(help="missed-aid, wrong-aid, dropouts, unmatched or integrity.")]


@plainly
def worklist(
    kind: Kind,
    county: Annotated[str, typer.Option(help="Code of the county, six digits.")],
    out: Annotated[Path, typer.Option(help="Workbook to write; it must not be there yet.")],
    login: Annotated[
        str | None,
        typer.Option(help="Login of the county (`edupa access list`); else the user of EDUPA_WAREHOUSE_URL."),
    ] = None,
    names: Annotated[bool, typer.Option(help="With names and ID numbers.")] = True,
) -> None:
    """Write a county's cases to a spreadsheet: what is wrong, since when, what to do; who takes it is noted.

    Lists of leads and of matches to look into come back, filled in, as files of the feeds integrity_review and
    match_review; their note says under which name.

    Example: `edupa worklist missed-aid --county 640422 --login xiji --out 漏助_西吉.xlsx`
    """
    from edupa.worklist import take

    settings = load_settings()
    taken = take(settings.warehouse, kind, county, out, login=login, with_names=names, extracts=settings.extracts)
    print(f"{taken.path}: {taken.cases} cases, taken by {taken.login}; sha256 {taken.file_sha256[:16]}")
