"""Fixtures: one server of each kind for the session, a clean folder on it for each test, and settings that reach it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ingest import Contract, Intake
from tests.conftest import make_warehouse
from tests.ingest.sources.servers import Proxy, Remote, http_server, s3_server, sftp_server
from warehouse.config import WarehouseConfig
from warehouse.server import stop


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Remote]]:
    base = tmp_path_factory.mktemp("servers")
    for name in ("sftp", "http"):
        (base / name).mkdir()
    with sftp_server(base / "sftp") as sftp, http_server(base / "http") as web, s3_server() as s3:
        yield {"sftp": sftp, "http": web, "s3": s3}


@pytest.fixture(params=["sftp", "s3", "http"])
def remote(request: pytest.FixtureRequest, servers: dict[str, Remote]) -> Remote:
    """Each kind of server, emptied."""
    server = servers[request.param]
    if server.folder is None:
        for item in server.client.list_objects_v2(Bucket="bucket").get("Contents", ()):
            server.client.delete_object(Bucket="bucket", Key=item["Key"])
    else:
        shutil.rmtree(server.folder / "extracts", ignore_errors=True)
        (server.folder / "extracts").mkdir()
    return server


@pytest.fixture(scope="session")
def own_server() -> Iterator[WarehouseConfig]:
    """One server for all tests of this folder; each begins with it emptied."""
    home = Path(tempfile.mkdtemp(prefix="edupa-test-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    yield config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def config(empty: WarehouseConfig, secrets: Path) -> WarehouseConfig:
    """The emptied warehouse, with this test's secrets beside its own; nothing was looked at before."""
    for path in empty.secrets_dir.iterdir():
        shutil.copy2(path, secrets / path.name)
    shutil.rmtree(empty.home / "arrivals", ignore_errors=True)
    return replace(empty, secrets_dir=secrets)


@pytest.fixture
def reach(root: Path, contracts: dict[str, Contract], config: WarehouseConfig) -> Callable[..., Intake]:
    """An intake for which a server is the source of feeds, with its secret in a file."""

    def make(server: Remote, *feeds: str, port: int | None = None, **limits: object) -> Intake:
        environ = {
            f"EDUPA_TRANSFER_{name.upper()}": str(value)
            for name, value in {"settle": 0, "backoff": 0.05, **limits}.items()
        }
        for feed in feeds:
            environ[f"EDUPA_SOURCE_{feed.upper()}"] = server.url(port)
            path = config.secrets_dir / f"source_{feed}"
            path.write_text(server.secret or "")
            path.chmod(0o600)
        return Intake(root, contracts, config, environ)

    return make


@pytest.fixture
def proxy_to() -> Iterator[Callable[[int], Proxy]]:
    made: list[Proxy] = []

    def make(port: int) -> Proxy:
        made.append(Proxy(port))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()
