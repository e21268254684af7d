"""News of a release: heard by listeners when it is committed, posted to a real server, signed, retried, never fatal."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.warehouse.candidates import asked, changed, marts, new_database, publish
from warehouse.config import WarehouseConfig
from warehouse.connection import connect
from warehouse.notices import CHANNEL, deliver_pending
from warehouse.release import rollback, withdraw

KEY = "only-in-this-test"


@dataclass
class Receiver:
    """A webhook's server: what it got, and what it answers."""

    url: str = ""
    status: int = 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append((dict(self.headers.items()), body))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}/hook/a-token-in-the-path"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def config(warehouse: WarehouseConfig, tmp_path: Path) -> WarehouseConfig:
    """A warehouse of its own whose secrets are a copy, so that a webhook can be configured."""
    fresh = new_database(warehouse)
    copy = tmp_path / "secrets"
    copy.mkdir()
    for path in fresh.secrets_dir.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return replace(fresh, secrets_dir=copy)


def configure(config: WarehouseConfig, url: str) -> None:
    config.secret_path("release_webhook_url").write_text(url + "\n", encoding="utf-8")
    config.secret_path("release_webhook_key").write_text(KEY, encoding="utf-8")


def valued(value: float) -> object:
    def set_value(found: dict[str, object]) -> None:
        found["county_evaluation"].rows[0]["value"] = value  # type: ignore[attr-defined]

    return changed(marts(), set_value)  # type: ignore[arg-type]


def test_listeners_hear_of_publication_rollback_and_withdrawal(config: WarehouseConfig) -> None:
    with connect("evaluator", config, autocommit=True) as listener:
        listener.execute(f"listen {CHANNEL}".encode())
        publish(config, valued(70))  # type: ignore[arg-type]
        publish(config, valued(71))  # type: ignore[arg-type]
        rollback(config)
        withdraw(config, "2019.2.0", "分母错误")
        heard = [json.loads(notice.payload) for notice in listener.notifies(timeout=2, stop_after=4)]
    assert [(told["event"], told["release_id"], told["shown"]) for told in heard] == [
        ("publish", "2019.1.0", "2019.1.0"),
        ("publish", "2019.2.0", "2019.2.0"),
        ("rollback", "2019.1.0", "2019.1.0"),
        ("withdraw", "2019.2.0", "2019.1.0"),
    ]
    assert heard[1]["semantic_version"] == "1.1.0"
    assert heard[3]["reason"] == "分母错误"


def test_webhook_gets_a_signed_notice_once(config: WarehouseConfig, receiver: Receiver) -> None:
    configure(config, receiver.url)
    publish(config, valued(70))  # type: ignore[arg-type]
    (delivery,) = deliver_pending(config)
    assert (delivery.delivered, delivery.detail) == (True, "HTTP 204 from 127.0.0.1")
    ((headers, body),) = receiver.got
    signed = headers["X-Edupa-Timestamp"].encode() + b"." + body
    assert headers["X-Edupa-Signature"] == "sha256=" + hmac.new(KEY.encode(), signed, hashlib.sha256).hexdigest()
    told = json.loads(body)
    assert (told["event"], told["release_id"], str(told["notice_id"])) == (
        "publish",
        "2019.1.0",
        headers["X-Edupa-Notice"],
    )
    assert deliver_pending(config) == []
    assert len(receiver.got) == 1


def test_a_failing_webhook_undoes_nothing_is_written_down_and_tried_again(
    config: WarehouseConfig, receiver: Receiver
) -> None:
    configure(config, "http://127.0.0.1:9/hook/a-token-in-the-path")
    assert publish(config, valued(70)).outcome == "published"  # type: ignore[arg-type]
    assert publish(config, valued(71)).outcome == "published"  # type: ignore[arg-type]
    (refused,) = deliver_pending(config)
    assert (refused.delivered, refused.detail) == (False, "ConnectError from 127.0.0.1")
    configure(config, receiver.url)
    receiver.status = 500
    assert [(done.delivered, done.detail) for done in deliver_pending(config)] == [
        (False, "HTTP 500 from 127.0.0.1"),
        (False, "HTTP 500 from 127.0.0.1"),
    ]
    receiver.status = 200
    assert [done.delivered for done in deliver_pending(config)] == [True, True]
    assert asked(config, "select distinct release_id from marts.county_evaluation") == [("2019.2.0",)]
    attempts = asked(config, "select detail from ledger.notice_attempt order by attempt_id", "auditor")
    assert len(attempts) == 5
    assert not any("token" in str(detail) for (detail,) in attempts), "an address may hold a secret"


@pytest.mark.parametrize(
    ("url", "key", "told"),
    [
        ("http://example.org/hook", KEY, "the address must be https:// (http:// only on this machine)"),
        ("ftp://127.0.0.1/hook", KEY, "the address must be https:// (http:// only on this machine)"),
        ("https://[broken/hook", KEY, "the address cannot be read: expected https://host/path"),
        (
            "http://127.0.0.1:9/hook",
            "",
            "not sent unsigned: the secret release_webhook_key is missing or empty",
        ),
    ],
)
def test_a_webhook_that_is_set_up_wrong_says_how(config: WarehouseConfig, url: str, key: str, told: str) -> None:
    configure(config, url)
    config.secret_path("release_webhook_key").write_text(key, encoding="utf-8")
    publish(config, valued(70))  # type: ignore[arg-type]
    (done,) = deliver_pending(config)
    assert (done.delivered, done.detail) == (False, told)


def test_without_a_webhook_nothing_is_pending_later(config: WarehouseConfig, receiver: Receiver) -> None:
    publish(config, valued(70))  # type: ignore[arg-type]
    configure(config, receiver.url)
    assert deliver_pending(config) == []
    assert receiver.got == []
