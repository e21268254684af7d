"""The JSON of a gate's page goes to a webhook as it is, signed; what goes wrong is said and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from expectations.webhook import tell
from warehouse.config import WarehouseConfig
from warehouse.notices import signature

TEXT = '{"decision": "block", "标题": "入库门禁"}\n'


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "gate_arrival.json").write_text(TEXT, encoding="utf-8")
    return tmp_path / "gate_arrival.html"


@pytest.fixture
def config(tmp_path: Path) -> WarehouseConfig:
    config = WarehouseConfig(home=tmp_path, secrets_dir=tmp_path / "secrets", durable=False)
    config.secrets_dir.mkdir()
    (config.secrets_dir / "release_webhook_key").write_text("key", encoding="utf-8")
    return config


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """An address, and what was posted to it."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(503 if self.path == "/busy" else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


def test_the_json_is_sent_word_for_word_and_signed(
    config: WarehouseConfig, page: Path, receiver: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    url, got = receiver
    (config.secrets_dir / "gate_webhook_url").write_text(f"{url}/hook\n", encoding="utf-8")
    assert tell(config, page, 7) == (True, "HTTP 204 from 127.0.0.1")
    [(headers, body)] = got
    assert body.decode() == TEXT
    assert headers["X-Edupa-Gate-Run"] == "7"
    assert headers["X-Edupa-Signature"] == signature("key", headers["X-Edupa-Timestamp"], body)


def test_without_an_address_nobody_is_told(
    config: WarehouseConfig, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDUPA_GATE_WEBHOOK", raising=False)
    assert tell(config, page, 7) is None


def test_what_goes_wrong_is_said_without_the_address(
    config: WarehouseConfig,
    page: Path,
    receiver: tuple[str, list[tuple[dict[str, str], bytes]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, got = receiver
    for address, said in (
        (f"{url}/busy", "HTTP 503 from 127.0.0.1"),
        ("http://example.org/token", "the address must be https:// (http:// only on this machine)"),
        ("http://127.0.0.1:1/token", "ConnectError from 127.0.0.1"),
    ):
        monkeypatch.setenv("EDUPA_GATE_WEBHOOK", address)
        assert tell(config, page, 7) == (False, said)
    (config.secrets_dir / "release_webhook_key").unlink()
    told = tell(config, page, 7)
    assert told is not None
    assert told[0] is False
    assert "not sent unsigned" in told[1]
    assert len(got) == 1
