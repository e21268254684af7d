"""Tokens in place of persons: HMAC-SHA256 with a key that only ingest reads.

A wrong key would split every person in two without an error. So the key's id and the token of a fixed text (the
canary) are stored with the first token, and any other key is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

import polars as pl
import polars_hash as plh
import psycopg

from warehouse.config import ConfigError, WarehouseConfig

SECRET = "token_key"
_CANARY_TEXT = "edupa token key canary"


class TokenKeyError(RuntimeError):
    """The key that makes tokens is missing, unusable, or not the one that made the tokens of this warehouse."""


@dataclass(frozen=True)
class TokenKey:
    """The key and its public id; the key is never printed."""

    key: str = field(repr=False)

    @property
    def key_id(self) -> str:
        """Sixteen hex characters that name the key and do not reveal it."""
        return hashlib.sha256(f"edupa token key id {self.key}".encode()).hexdigest()[:16]

    def token(self, text: str) -> str:
        """HMAC-SHA256 of one text, 64 hex characters; equals what hmac_expression gives for a column."""
        return hmac.new(self.key.encode(), text.encode(), hashlib.sha256).hexdigest()

    def hmac_expression(self, column: str) -> pl.Expr:
        """HMAC-SHA256 of a text column, null where it is null."""
        expression: pl.Expr = plh.col(column).chash.hmac_sha256(key=self.key)
        return expression


def ensure_token_key(config: WarehouseConfig) -> TokenKey:
    """The warehouse's token key, made at random (256 bits, file mode 0600) where there is none yet."""
    return TokenKey(config.ensure_secret(SECRET))


def read_token_key(config: WarehouseConfig) -> TokenKey:
    """The token key of the warehouse.

    Raises:
        TokenKeyError: its file is missing or empty; nothing is loaded then, for a new key would break every join.
    """
    try:
        key = config.secret(SECRET)
    except ConfigError as error:
        raise TokenKeyError(
            f"the token key is missing: expected file {config.secret_path(SECRET)}; restore it from the backup"
        ) from error
    if len(key) < 32:
        raise TokenKeyError(f"the token key in {config.secret_path(SECRET)} is shorter than 32 characters")
    return TokenKey(key)


def check_canary(conn: psycopg.Connection[tuple[object, ...]], key: TokenKey) -> None:
    """Refuse a key other than the one that made the tokens of this warehouse; register the first.

    Raises:
        TokenKeyError: the key's id or its canary differs from what is stored.
    """
    canary = key.token(_CANARY_TEXT)
    stored = {str(row[0]): str(row[1]) for row in conn.execute("select key_id, canary from vault.token_key").fetchall()}
    if not stored:
        conn.execute("insert into vault.token_key (key_id, canary) values (%s, %s)", (key.key_id, canary))
        return
    if not hmac.compare_digest(stored.get(key.key_id, ""), canary):
        raise TokenKeyError(
            f"wrong token key: key {key.key_id} did not make the tokens of this warehouse"
            f" (made by {', '.join(sorted(stored))}); nothing was loaded"
        )
