"""Verify releases: recompute the hash of everything that was ever frozen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from warehouse.canonical import (
    COMPANIONS,
    ReleaseError,
    TableSeal,
    canonical_sha256,
    content_sha256_of,
    partition_of,
    texts_of,
    texts_sha256,
)
from warehouse.config import WarehouseConfig
from warehouse.connection import connect


@dataclass(frozen=True)
class Finding:
    """A table of a release that is not what was frozen."""

    release_id: str
    table: str
    problem: str


def verify(config: WarehouseConfig, releases: Iterable[str] | None = None) -> tuple[int, list[Finding]]:
    """Recompute the hash of every table of the named releases (None: all ever frozen).

    Returns:
        Number of tables checked, and what is wrong with any of them.

    Raises:
        ReleaseError: a named release does not exist.
    """
    findings: list[Finding] = []
    checked = 0
    with connect("publisher", config, autocommit=True) as conn:
        rows = conn.execute(
            "select release_id, table_sha256, content_sha256 from ledger.release order by frozen_at"
        ).fetchall()
        known: dict[str, tuple[dict[str, Any], str]] = {str(r[0]): (r[1], str(r[2])) for r in rows}  # type: ignore[misc]
        wanted = list(releases) if releases is not None else list(known)
        for release_id in wanted:
            if release_id not in known:
                raise ReleaseError(f"there is no release {release_id}")
            tables, content = known[release_id]
            seals = {mart: TableSeal(**seal) for mart, seal in tables.items()}
            marts = {mart: seal for mart, seal in seals.items() if mart not in COMPANIONS}
            if content_sha256_of(marts) != content:
                findings.append(Finding(release_id, "ledger.release", "recorded hashes do not give the content hash"))
            for mart, seal in seals.items():
                checked += 1
                partition = partition_of(mart, release_id)
                try:
                    digest, count = canonical_sha256(conn, "releases", partition, seal.columns, seal.key)
                except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
                    findings.append(Finding(release_id, partition, f"gone: {error.diag.message_primary}"))
                    continue
                except KeyError as error:
                    findings.append(Finding(release_id, partition, f"key column {error} is gone"))
                    continue
                if seal.texts_sha256 not in (None, texts_sha256(texts_of(conn, "releases", partition), seal.columns)):
                    findings.append(Finding(release_id, partition, "comments differ from those frozen"))
                if digest != seal.sha256:
                    findings.append(
                        Finding(release_id, partition, f"content differs: {count} rows now, {seal.rows} frozen")
                    )
    return checked, findings
