"""News of releases: a notice in the publishing transaction, ``pg_notify`` with it, and a signed webhook after it.

The notice is a row, so what happened is told at least once, whatever becomes of the process; a webhook that fails is
written down and tried again by ``edupa release notify --pending`` and never undoes a publication.

The webhook's address is the file ``release_webhook_url`` among the secrets (addresses often hold a token) or
EDUPA_RELEASE_WEBHOOK; the body is signed with the secret ``release_webhook_key``:
``X-Edupa-Signature: sha256=<HMAC-SHA256 of "<X-Edupa-Timestamp>.<body>" in hex>``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from psycopg.types.json import Jsonb

from warehouse.canonical import Connection
from warehouse.config import ConfigError, WarehouseConfig
from warehouse.connection import connect

CHANNEL = "edupa_release"
URL_SECRET = "release_webhook_url"
URL_VARIABLE = "EDUPA_RELEASE_WEBHOOK"
KEY_SECRET = "release_webhook_key"
TIMEOUT_S = 5.0

Event = Literal["publish", "rollback", "withdraw"]


@dataclass(frozen=True)
class Delivery:
    """What became of one notice.

    Attributes:
        notice_id: the notice.
        event: what it tells.
        release_id: of which release.
        delivered: whether the receiver took it.
        detail: the receiver's status, or why there is none; no address.
    """

    notice_id: int
    event: str
    release_id: str
    delivered: bool
    detail: str


def webhook_url(config: WarehouseConfig, secret: str = URL_SECRET, variable: str = URL_VARIABLE) -> str | None:
    """Address of a webhook, from a file among the secrets or the environment; None where none is configured."""
    path = config.secret_path(secret)
    if path.exists() and (url := path.read_text(encoding="utf-8").strip()):
        return url
    return os.environ.get(variable) or None


def announce(conn: Connection, config: WarehouseConfig, event: Event, release_id: str, shown: str | None) -> None:
    """Write a notice and notify listeners, in the caller's transaction: both are heard if, and only if, it commits.

    Args:
        conn: the publisher's connection.
        config: says whether a webhook is configured.
        event: what happened.
        release_id: to which release.
        shown: release that marts.* show from now on.
    """
    row = conn.execute(
        "select evaluation_year, kind, semantic_version, change_level, previous_release, content_sha256,"
        " coalesce(withdrawn_reason, reason) from ledger.release where release_id = %s",
        (release_id,),
    ).fetchone()
    names = (
        "evaluation_year",
        "kind",
        "semantic_version",
        "change_level",
        "previous_release",
        "content_sha256",
        "reason",
    )
    payload = {
        "event": event,
        "release_id": release_id,
        "shown": shown,
        **(dict(zip(names, row, strict=True)) if row else {}),
    }
    # a listener gets at most 8000 bytes; a long reason is in the registry
    payload["reason"] = str(payload.get("reason"))[:500]
    conn.execute(
        "insert into ledger.release_notice (event, release_id, payload, webhook_wanted) values (%s, %s, %s, %s)",
        (event, release_id, Jsonb(payload), webhook_url(config) is not None),
    )
    conn.execute("select pg_notify(%s, %s)", (CHANNEL, json.dumps(payload, ensure_ascii=False)))


def signature(key: str, timestamp: str, body: bytes) -> str:
    """Value of X-Edupa-Signature."""
    return "sha256=" + hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def post_signed(config: WarehouseConfig, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[bool, str]:
    """Post signed JSON; whatever goes wrong is said, not raised.

    Args:
        config: where the signing key lies.
        url: https, or http on this machine.
        body: JSON.
        headers: beside those of type, time and signature.

    Returns:
        Whether the receiver took it, and its status or why there is none; never the address, it may hold a token.
    """
    import httpx

    try:
        address = urlsplit(url)
        host = address.hostname
    except ValueError:
        return False, "the address cannot be read: expected https://host/path"
    if address.scheme != "https" and not (address.scheme == "http" and host in ("127.0.0.1", "::1", "localhost")):
        return False, "the address must be https:// (http:// only on this machine)"
    try:
        key = config.secret(KEY_SECRET)
    except ConfigError:
        return False, f"not sent unsigned: the secret {KEY_SECRET} is missing or empty"
    timestamp = str(int(time.time()))
    sent = {
        **headers,
        "Content-Type": "application/json; charset=utf-8",
        "X-Edupa-Timestamp": timestamp,
        "X-Edupa-Signature": signature(key, timestamp, body),
    }
    try:
        answer = httpx.post(url, content=body, headers=sent, timeout=TIMEOUT_S, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # the message of an HTTP error holds the address
        return False, f"{type(error).__name__} from {host}"
    return answer.is_success, f"HTTP {answer.status_code} from {host}"


def _send(config: WarehouseConfig, notice_id: int, payload: object) -> tuple[bool, str]:
    """Post one notice; whatever goes wrong is said, not raised."""
    url = webhook_url(config)
    if url is None:
        return False, f"no address: write it to the secret {URL_SECRET} or set {URL_VARIABLE}"
    body = json.dumps({"notice_id": notice_id, **dict(payload)}, ensure_ascii=False).encode()  # type: ignore[call-overload]
    return post_signed(config, url, body, {"X-Edupa-Notice": str(notice_id)})


def deliver_pending(config: WarehouseConfig, *, limit: int = 100) -> list[Delivery]:
    """Try to deliver every notice that wants a webhook and has not been delivered, oldest first.

    A notice on which another process is just working is left to it.
    """
    done: list[Delivery] = []
    with connect("publisher", config, autocommit=True, application_name="edupa notify") as conn:
        pending = conn.execute(
            "select notice_id from ledger.release_notice n where webhook_wanted and not exists"
            " (select from ledger.notice_attempt a where a.notice_id = n.notice_id and a.delivered)"
            " order by notice_id limit %s",
            (limit,),
        ).fetchall()
        for (notice_id,) in pending:
            mine = conn.execute(
                "select pg_try_advisory_lock(hashtext('edupa.notice'), %s::int)", (notice_id,)
            ).fetchone()
            if not (mine and mine[0]):
                continue
            try:
                row = conn.execute(
                    "select event, release_id, payload from ledger.release_notice n where notice_id = %s and not exists"
                    " (select from ledger.notice_attempt a where a.notice_id = n.notice_id and a.delivered)",
                    (notice_id,),
                ).fetchone()
                if row is None:
                    continue
                delivered, detail = _send(config, int(str(notice_id)), row[2])
                conn.execute(
                    "insert into ledger.notice_attempt (notice_id, delivered, detail) values (%s, %s, %s)",
                    (notice_id, delivered, detail),
                )
            finally:
                conn.execute("select pg_advisory_unlock(hashtext('edupa.notice'), %s::int)", (notice_id,))
            done.append(Delivery(int(str(notice_id)), str(row[0]), str(row[1]), delivered, detail))
            if not delivered and not detail.startswith("HTTP "):
                break  # nobody answers: the others would only wait as long, each
    return done
