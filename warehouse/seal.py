"""Signed manifests: what a release was, in a form that its database cannot forge.

The manifest of a release says which tables with which hashes, columns and comments were frozen, from what and on whose
word, and names the manifest before it by hash. It is signed with an Ed25519 key that lies outside the database, in a
file of the secrets folder; whoever holds the public key can check it with no other secret.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from psycopg.types.json import Jsonb

from warehouse.canonical import FORMAT as CANONICAL_FORMAT
from warehouse.canonical import Connection, ReleaseError, columns_of, pinned_session, schema_of
from warehouse.config import WarehouseConfig
from warehouse.connection import connect

FORMAT = "edupa-manifest-1"
SECRET = "release_signing_key"
PUBLIC_KEY = "release_public_key_{}.pem"

# columns of ledger.release that live on after the freeze, or that the manifest holds in another place
LIVING = frozenset(
    {
        "status",
        "published_at",
        "withdrawn_at",
        "withdrawn_reason",
        "table_sha256",
        "manifest",
        "manifest_signature",
        "signing_key_id",
    }
)


class SealError(ReleaseError):
    """A manifest cannot be signed or checked; the message says which key is missing, wrong or unreadable."""


@dataclass(frozen=True)
class SignedManifest:
    """A manifest with its signature."""

    manifest: dict[str, Any]
    signature: str
    key_id: str


def canonical_json(value: dict[str, Any]) -> bytes:
    """Bytes that are signed: keys sorted, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def manifest_sha256(manifest: dict[str, Any]) -> str:
    """Hash by which the next manifest names this one."""
    return hashlib.sha256(canonical_json(manifest)).hexdigest()


def key_id_of(key: Ed25519PublicKey) -> str:
    """First 16 hex digits of the SHA-256 of the raw public key."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def public_pem(key: Ed25519PublicKey) -> str:
    """The public key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def read_public_key(pem: str, where: str) -> Ed25519PublicKey:
    """A public key from PEM.

    Raises:
        SealError: it is not an Ed25519 public key.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError as error:
        raise SealError(f"{where} holds no public key in PEM form") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SealError(f"{where} holds a key of another kind: manifests are signed with Ed25519")
    return key


def _write_once(path: Path, text: str, mode: int) -> None:
    """Write a file that must not exist yet, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
        # a link fails where the name is taken; a rename would replace what another process has just made
        os.link(partial, path)
    finally:
        partial.unlink()


def _new_key(config: WarehouseConfig) -> None:
    """Make a private key and keep its public half beside it.

    Raises:
        SealError: the secrets folder cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = private.public_key()
    path = config.secret_path(SECRET)
    try:
        _write_once(path, pem, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise SealError(
            f"the signing key cannot be written to {path}: {error.strerror}; make it there with"
            " `openssl genpkey -algorithm ed25519`, readable by its owner only"
        ) from error
    _write_once(config.secret_path(PUBLIC_KEY.format(key_id_of(public))), public_pem(public), 0o644)


def _read_private(config: WarehouseConfig) -> Ed25519PrivateKey:
    path = config.secret_path(SECRET)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise SealError(f"the signing key is missing: expected file {path}") from error
    except (ValueError, TypeError) as error:
        raise SealError(f"{path} holds no unencrypted private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SealError(f"{path} holds a key of another kind: manifests are signed with Ed25519")
    return key


def _signing_key(config: WarehouseConfig, conn: Connection) -> Ed25519PrivateKey:
    """The key that signs; the first time, it is made.

    Raises:
        SealError: the ledger knows a key that is not retired, and the file is missing or holds another one.
    """
    row = conn.execute(
        "select key_id from ledger.signing_key where retired_at is null order by created_at desc limit 1"
    ).fetchone()
    path = config.secret_path(SECRET)
    if not path.exists():
        if row is not None:
            raise SealError(
                f"the signing key {row[0]} is missing: expected file {path}; put it back, or make a new one with"
                " `edupa release rotate-key` (old releases stay verifiable by their public key)"
            )
        _new_key(config)
    key = _read_private(config)
    key_id = key_id_of(key.public_key())
    if row is not None and row[0] != key_id:
        raise SealError(
            f"{path} holds key {key_id}, but releases are signed with key {row[0]}: put the right key there, or make"
            " the change of keys known with `edupa release rotate-key`"
        )
    if row is None:
        conn.execute(
            "insert into ledger.signing_key (key_id, public_key) values (%s, %s)",
            (key_id, public_pem(key.public_key())),
        )
    return key


def rotate_key(config: WarehouseConfig) -> tuple[str | None, str]:
    """Replace the signing key: the old public key stays, the old private key is destroyed.

    A file that already holds a key unknown to the ledger is taken as the new one.

    Returns:
        Id of the key before (None: there was none) and of the new one.

    Raises:
        SealError: the secrets folder cannot be written.
    """
    path = config.secret_path(SECRET)
    with connect("publisher", config) as conn:
        known = {str(row[0]) for row in conn.execute("select key_id from ledger.signing_key")}
        row = conn.execute(
            "select key_id from ledger.signing_key where retired_at is null order by created_at desc limit 1"
        ).fetchone()
        before = str(row[0]) if row else None
        if path.exists() and key_id_of(_read_private(config).public_key()) in known:
            try:
                path.unlink()
            except OSError as error:
                raise SealError(f"{path} cannot be replaced: {error.strerror}") from error
        if not path.exists():
            _new_key(config)
        public = _read_private(config).public_key()
        conn.execute("update ledger.signing_key set retired_at = clock_timestamp() where retired_at is null")
        conn.execute(
            "insert into ledger.signing_key (key_id, public_key) values (%s, %s)",
            (key_id_of(public), public_pem(public)),
        )
    return before, key_id_of(public)


def registered(conn: Connection, release_id: str) -> dict[str, Any] | None:
    """What the ledger says of a release and does not change after its freeze; None: no such release."""
    with pinned_session(conn):
        row = conn.execute("select to_jsonb(r) from ledger.release r where r.release_id = %s", (release_id,)).fetchone()
    if row is None:
        return None
    entry: dict[str, Any] = row[0]  # type: ignore[assignment]
    return {name: value for name, value in entry.items() if name not in LIVING}


def readers_table(conn: Connection, release_id: str, mart: str) -> dict[str, Any]:
    """What a reader of the pinned view of a mart sees beside its rows: comment, columns, their types and comments."""
    row = conn.execute(
        "select obj_description(c.oid, 'pg_class') from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where (n.nspname, c.relname) = (%s, %s)",
        (schema_of(release_id), mart),
    ).fetchone()
    return {
        "comment": row[0] if row else None,
        "columns": [
            {"name": name, "type": kind, "comment": note}
            for name, kind, note in columns_of(conn, schema_of(release_id), mart)
        ],
    }


def build_manifest(conn: Connection, release_id: str) -> dict[str, Any]:
    """Manifest of a release that has been frozen in this transaction."""
    entry = registered(conn, release_id)
    assert entry is not None
    row = conn.execute(
        "select r.table_sha256, g.boundary, g.decision, g.subject_hash, g.evaluation_year"
        " from ledger.release r join ledger.gate_run g using (gate_run_id) where r.release_id = %s",
        (release_id,),
    ).fetchone()
    assert row is not None
    tables: dict[str, dict[str, Any]] = row[0]  # type: ignore[assignment]
    before = conn.execute(
        "select release_id, manifest from ledger.release where release_id <> %s and manifest is not null"
        " order by frozen_at desc limit 1",
        (release_id,),
    ).fetchone()
    return {
        "format": FORMAT,
        "canonical": CANONICAL_FORMAT,
        "release": entry,
        "gate": {
            "boundary": row[1], "decision": row[2], "subject_sha256": row[3], "evaluation_year": row[4],
        },
        "tables": {
            mart: {
                "sha256": seal["sha256"],
                "rows": seal["rows"],
                "key": seal["key"],
                "ranges": seal["ranges"],
                **readers_table(conn, release_id, mart),
            }
            for mart, seal in tables.items()
        },
        "previous": None
        if before is None
        else {"release_id": before[0], "manifest_sha256": manifest_sha256(before[1])},  # type: ignore[arg-type]
    }  # fmt: skip


def seal_release(config: WarehouseConfig, conn: Connection, release_id: str) -> None:
    """Write and sign the manifest of a release, in the transaction that froze it.

    Raises:
        SealError: the signing key is missing or not the one that the ledger knows; nothing is frozen then.
    """
    key = _signing_key(config, conn)
    manifest = build_manifest(conn, release_id)
    signature = base64.b64encode(key.sign(canonical_json(manifest))).decode()
    conn.execute(
        "update ledger.release set manifest = %s, manifest_signature = %s, signing_key_id = %s where release_id = %s",
        (Jsonb(manifest), signature, key_id_of(key.public_key()), release_id),
    )


def signed_manifest(conn: Connection, release_id: str) -> SignedManifest:
    """The signed manifest of a release.

    Raises:
        SealError: there is no such release, or it was frozen without a manifest.
    """
    row = conn.execute(
        "select manifest, manifest_signature, signing_key_id from ledger.release where release_id = %s", (release_id,)
    ).fetchone()
    if row is None:
        raise SealError(f"there is no release {release_id}")
    if row[0] is None:
        raise SealError(f"release {release_id} was frozen before manifests were signed: it has none")
    return SignedManifest(row[0], str(row[1]), str(row[2]))  # type: ignore[arg-type]


def ledger_keys(conn: Connection) -> dict[str, Ed25519PublicKey]:
    """Public keys that the ledger knows, by key id."""
    rows = conn.execute("select key_id, public_key from ledger.signing_key").fetchall()
    return {str(key_id): read_public_key(str(pem), f"ledger.signing_key {key_id}") for key_id, pem in rows}


def key_files(paths: Iterable[Path]) -> dict[str, Ed25519PublicKey]:
    """Public keys of files, by key id.

    Raises:
        SealError: a file is missing or holds no Ed25519 public key.
    """
    keys: dict[str, Ed25519PublicKey] = {}
    for path in paths:
        try:
            key = read_public_key(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise SealError(f"the public key {path} cannot be read") from error
        keys[key_id_of(key)] = key
    return keys


def own_keys(config: WarehouseConfig) -> dict[str, Ed25519PublicKey]:
    """Public keys that the secrets folder vouches for, by key id: those kept there, and that of the private key."""
    keys = key_files(sorted(config.secrets_dir.glob(PUBLIC_KEY.format("*"))))
    if os.access(config.secret_path(SECRET), os.R_OK):
        public = _read_private(config).public_key()
        keys[key_id_of(public)] = public
    return keys


@contextmanager
def own_key_files(config: WarehouseConfig) -> Iterator[list[Path]]:
    """The keys of ``own_keys`` as files, for whoever verifies elsewhere; none where the secrets folder holds none."""
    with tempfile.TemporaryDirectory(prefix="edupa-keys-") as folder:
        paths = []
        for key_id, key in own_keys(config).items():
            path = Path(folder) / f"{key_id}.pem"
            path.write_text(public_pem(key), encoding="utf-8")
            paths.append(path)
        yield paths


def signature_problem(signed: SignedManifest, keys: dict[str, Ed25519PublicKey]) -> str | None:
    """What is wrong with the signature of a manifest; None: it is good."""
    key = keys.get(signed.key_id)
    if key is None:
        return (
            f"signed with key {signed.key_id}, which is not among the keys that are trusted here"
            f" ({', '.join(sorted(keys)) or 'none'}): put its public key into the secrets folder as"
            f" {PUBLIC_KEY.format(signed.key_id)}, or name it with --public-key"
        )
    try:
        key.verify(base64.b64decode(signed.signature, validate=True), canonical_json(signed.manifest))
    except (InvalidSignature, ValueError):
        return f"the signature is not that of key {signed.key_id} over this manifest"
    return None
