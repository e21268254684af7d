"""docker-compose.yml: every name in it leads somewhere, every rule of the production shape holds, commands exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from edupa import airflow
from edupa.settings import Settings
from tests.deploy.compose_file import ROOT, MissingVariableError, interpolate, load, read_env_file
from warehouse.config import LOGIN_ROLES, WarehouseConfig
from warehouse.server import SETTINGS

COMPOSE = load()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("edupa:")}
DOCKERFILES = sorted((ROOT / "deploy").rglob("Dockerfile"))

# settings that differ from edupa/airflow.py environment() on purpose, and why
DIFFERENT_ON_PURPOSE = {
    "AIRFLOW__CORE__DAGS_FOLDER": "the image's own path",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "a scheduler runs here, so DAGs run on their schedule (as `make up`)",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "the api-server is another container",
    "AIRFLOW__CORE__FERNET_KEY_CMD": "secrets are mounted at /run/secrets",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": "a copy in memory, because a secret is read-only",
    "AIRFLOW__API__SECRET_KEY_CMD": "secrets are mounted at /run/secrets",
    "AIRFLOW__API_AUTH__JWT_SECRET_CMD": "secrets are mounted at /run/secrets",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": "secrets are mounted at /run/secrets",
    "AIRFLOW__API__HOST": "all interfaces of the container; the published port is bound to 127.0.0.1",
    "AIRFLOW__API__WORKERS": "more than one person looks",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": "a volume shared by the services",
}


@pytest.fixture(scope="module")
def made_secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which deploy/make-secrets.sh has run once."""
    root = tmp_path_factory.mktemp("deploy")
    make_secrets(root)
    return root


def make_secrets(root: Path) -> str:
    done = subprocess.run(
        ["sh", str(ROOT / "deploy/make-secrets.sh"), "--root", str(root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- the file itself ----------------------------------------------------------------------------------------------


def test_compose_file_is_valid_by_the_specification() -> None:
    schema = json.loads((ROOT / "tests/deploy/compose_spec.json").read_text(encoding="utf-8"))
    document = {key: value for key, value in COMPOSE.items() if key != "name"}
    # the schema is real: it refuses a key that no service has
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate({"services": {"x": {"image": "y", "not_a_key": 1}}})
    jsonschema.Draft7Validator(schema).validate(document)
    # where Compose itself is at hand, it has the last word
    if subprocess.run(["sh", "-c", "docker compose version"], capture_output=True, check=False).returncode == 0:
        subprocess.run(
            ["docker", "compose", "--env-file", ".env.example", "--profile", "*", "config", "--quiet"],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip


def test_every_variable_has_an_example_and_every_example_is_used() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    named = set(read_env_file(ROOT / ".env.example"))
    assert used - named == set()
    assert named - used == {"COMPOSE_PROFILES"}  # read by Compose itself


def test_without_an_account_nothing_starts() -> None:
    with pytest.raises(MissingVariableError, match="make-secrets"):
        load({})


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("${A}", {"A": "1"}, "1"),
        ("${A:-2}", {"A": ""}, "2"),
        ("${A-2}", {"A": ""}, ""),
        ("${A-2}", {}, "2"),
        ("${A:+3}", {"A": "1"}, "3"),
        ("$$A", {"A": "1"}, "$A"),
        ("$A/x", {"A": "1"}, "1/x"),
    ],
)
def test_interpolation_follows_the_specification(text: str, variables: dict[str, str], expected: str) -> None:
    assert interpolate(text, variables) == expected


# --- paths, images, secrets ---------------------------------------------------------------------------------------


def test_every_bind_path_build_context_and_dockerfile_exists(made_secrets: Path) -> None:
    checked = 0
    for name, service in SERVICES.items():
        if build := service.get("build"):
            context = ROOT / build["context"]
            assert context.is_dir(), name
            assert (context / build["dockerfile"]).is_file(), name
            checked += 2
        for volume in service.get("volumes", []):
            if isinstance(volume, str):
                assert volume.split(":")[0] in COMPOSE["volumes"], f"{name}: {volume} is not a declared volume"
            else:
                # renewed passwords and those of counties' logins are written by the one service made for it
                written = (name, volume["source"]) == ("access", "./secrets")
                assert volume.get("read_only", False) is not written, f"{name}: {volume['source']}"
                source = Path(volume["source"])
                assert (ROOT / source).exists() or (made_secrets / source).exists(), f"{name}: {source}"
            checked += 1
    assert checked > 25


def test_every_secret_is_declared_used_and_made_by_the_script(made_secrets: Path) -> None:
    declared = COMPOSE["secrets"]
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(declared)
    for name, secret in declared.items():
        assert secret["file"] == f"./secrets/{name}"
        path = made_secrets / "secrets" / name
        assert path.stat().st_size > 30, name
        assert path.stat().st_mode & 0o777 == 0o600, name


def test_make_secrets_changes_nothing_the_second_time(made_secrets: Path) -> None:
    folder = made_secrets / "secrets"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "0 made" in make_secrets(made_secrets)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    words = [value for name, value in before.items() if "tls" not in name and "ca" not in name]
    assert len(set(words)) == len(words), "two secrets are equal"


def test_a_renewed_password_reaches_the_secrets_made_of_it(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    (tmp_path / "secrets/airflow").unlink()
    assert "2 made" in make_secrets(tmp_path)
    assert (tmp_path / "secrets/airflow").read_text() in (tmp_path / "secrets/airflow_conn").read_text()


def test_certificate_of_postgres_is_signed_for_its_host_name(made_secrets: Path) -> None:
    folder = made_secrets / "secrets"
    subprocess.run(
        ["openssl", "verify", "-CAfile", "postgres_ca", "-verify_hostname", "postgres", "postgres_tls_cert"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    assert "postgres_ca_key" not in COMPOSE["secrets"], "the authority's key has no business in a container"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_source_of_a_dockerfile_exists_and_reaches_the_build(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"]
    copied = 0
    for line in re.findall(r"^COPY (.+)$", text, flags=re.MULTILINE):
        words = line.split()
        if words[0].startswith("--from="):
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
            assert any(source == keep or source.startswith(f"{keep}/") for keep in kept), f"{source} is ignored"
            copied += 1
    assert copied >= 5
    images = re.findall(r"^FROM (\S+)", text, flags=re.MULTILINE)
    assert images
    for image in images:
        assert_pinned(image)
    for line in re.findall(r"^RUN .*?(?:pip (?:install|sync)) .*$", text, flags=re.MULTILINE):
        for command in re.findall(r"pip (?:install|sync) [^&]*", line):
            assert "--require-hashes" in command or "-e ." in command, command


def assert_pinned(image: str) -> None:
    """A tag with at least two numbers; never latest, never a host's name."""
    repository, _, tag = image.partition(":")
    assert re.match(r"\d+\.\d+", tag), f"{image}: the tag does not name a version"
    assert "latest" not in tag
    assert "." not in repository.split("/")[0], f"{image}: names a registry"


@pytest.mark.parametrize("name", ["deploy/airflow/celery.lock", "deploy/superset/requirements.lock"])
def test_lock_files_carry_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    pinned = re.findall(r"^[a-z0-9][\w.-]*==", text, flags=re.MULTILINE)
    assert len(pinned) > 10
    assert "://" not in text
    for block in re.split(r"\n(?=[a-z0-9])", text.strip()):
        if not block.startswith("#"):
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_celery_lock_pins_nothing_that_requirements_lock_pins() -> None:
    def names(path: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9][\w.-]*)==", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE))

    assert names("deploy/airflow/celery.lock") & names("requirements.lock") == set()


# --- rules of the production shape --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_service_keeps_the_rules(name: str) -> None:
    service = SERVICES[name]
    assert_pinned(service["image"])
    for forbidden in ("privileged", "network_mode", "pid", "ipc", "devices", "userns_mode", "env_file"):
        assert forbidden not in service, forbidden
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] in ("unless-stopped", "no")
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[mg]", limits["memory"])
    if name not in ONE_SHOT:
        check = service["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries"} <= set(check)
    if name != "postgres":  # its entrypoint gives root up itself
        assert not str(service["user"]).startswith("0:")
        assert "cap_add" not in service
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{name} publishes {port} beyond this machine"
        assert "edge" in service["networks"]
    for other, wait in service.get("depends_on", {}).items():
        assert other in SERVICES
        wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert wait["condition"] == wanted, f"{name} waits for {other}"
        # a service without a profile must not wait for one that may be absent
        assert set(SERVICES[other].get("profiles", [])) <= set(service.get("profiles", []))


def test_only_the_two_web_pages_are_published() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if service.get("ports")}
    assert set(published) == {"airflow-api-server", "superset"}
    assert COMPOSE["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_password_stands_in_a_service(name: str) -> None:
    service = SERVICES[name]
    for key, value in service.get("environment", {}).items():
        text = str(value)
        if re.search(r"PASSWORD|SECRET|TOKEN|FERNET|JWT|BROKER|CONN", key):
            points_to_file = "/run/secrets" in text or key.endswith("PASSWORDS_FILE")
            assert points_to_file, f"{key} holds a value, not a file"
        assert not re.search(r"://[^/@:]+:[^@]+@", text), f"{key} carries a password"
    words = " ".join([*map(str, service.get("command", [])), *map(str, service.get("healthcheck", {}).get("test", []))])
    assert not re.search(r"password=|--password|-p\s*\S*pass", words)


def test_administrator_and_token_key_reach_only_those_who_need_them() -> None:
    def holders(secret: str) -> set[str]:
        return {name for name, service in SERVICES.items() if secret in service.get("secrets", [])}

    assert holders("admin") == {"postgres", "migrate"}
    assert holders("watchdog") == {"migrate", "watchdog"}
    assert set(SERVICES["watchdog"]["secrets"]) == {"postgres_ca", "watchdog"}
    assert holders("token_key") == {"migrate", "airflow-scheduler", "airflow-worker"}
    assert holders("release_signing_key") == {"airflow-scheduler", "airflow-worker"}
    assert holders("ingest") == {"migrate", "airflow-scheduler", "airflow-worker"}
    assert set(LOGIN_ROLES) <= set(SERVICES["migrate"]["secrets"]), "migrate sets every role's password"


# --- the same code as the embedded shape --------------------------------------------------------------------------


def test_airflow_settings_are_those_of_the_embedded_shape(warehouse: WarehouseConfig, tmp_path: Path) -> None:
    settings = Settings(warehouse, tmp_path / "extracts", tmp_path / "runs", 2020)
    embedded = {key: value for key, value in airflow.environment(settings).items() if key.startswith("AIRFLOW__")}
    # containers have addresses of their own, so their log servers need no ports of their own
    for name in ("WORKER", "TRIGGER"):
        del embedded[f"AIRFLOW__LOGGING__{name}_LOG_SERVER_PORT"]
    assert len(embedded) > 15
    for name in sorted(OURS):
        here = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
        assert set(embedded) - set(here) == set(), f"{name} lacks settings of the embedded shape"
        differing = {key for key, value in embedded.items() if here[key] != value}
        assert differing <= set(DIFFERENT_ON_PURPOSE), f"{name}: {differing - set(DIFFERENT_ON_PURPOSE)}"
        assert {"DO_NOT_TRACK", "SCARF_NO_ANALYTICS", "GX_ANALYTICS_ENABLED", "DBT_SEND_ANONYMOUS_USAGE_STATS"} <= set(
            here
        )


def test_every_airflow_setting_exists_in_airflow() -> None:
    from airflow.configuration import conf

    known = {
        (section, key) for section, options in conf.configuration_description.items() for key in options["options"]
    }
    # the celery provider's section comes with deploy/airflow/celery.lock
    celery = {("celery", "broker_url"), ("celery", "worker_concurrency")}
    wanted: set[tuple[str, str]] = set()
    for name in OURS:
        for key in SERVICES[name]["environment"]:
            if key.startswith("AIRFLOW__"):
                section, option = key.removeprefix("AIRFLOW__").lower().split("__")
                from_command = option.endswith("_cmd")
                pair = (section, option.removesuffix("_cmd"))
                wanted.add(pair)
                if from_command:
                    # Airflow runs a command only for options that it counts as sensitive
                    assert pair in {*conf.sensitive_config_values, *celery}, key
    assert len(wanted) > 20
    assert wanted - known - celery == set()


# --- commands -----------------------------------------------------------------------------------------------------


def programs() -> list[tuple[str, list[str]]]:
    """Every command line of our services and of the scripts that they start, as words."""
    found: list[tuple[str, list[str]]] = []
    for name in sorted(OURS):
        service = SERVICES[name]
        kind, *check = service.get("healthcheck", {}).get("test", ["CMD", "true"])
        start = [*service.get("entrypoint", []), *service["command"]]
        lines = [start, shlex.split(check[0]) if kind == "CMD-SHELL" else check]
        for words in lines:
            if words[0] == "sh":
                script = ROOT / words[1].removeprefix("/opt/edupa/")
                body = script.read_text(encoding="utf-8").splitlines()
                found += [
                    (name, shlex.split(line.removeprefix("exec "))) for line in body if line and line[0] not in "# "
                ]
            else:
                found.append((name, list(words)))
    return found


def test_every_airflow_command_is_accepted_with_its_arguments(tmp_path: Path) -> None:
    commands = sorted({tuple(words) for _, words in programs() if words[0] == "airflow" and words[1] != "celery"})
    assert {words[1] for words in commands} >= {"api-server", "scheduler", "dag-processor", "triggerer", "db", "jobs"}
    # Airflow's own parser, in one process of its own, because it reads its configuration at import
    script = (
        "import json, sys\n"
        "from airflow.cli.cli_parser import get_parser\n"
        "parser = get_parser()\n"
        "said = {}\n"
        "for words in json.load(sys.stdin):\n"
        "    try:\n"
        "        said[' '.join(words)] = parser.parse_args(words).func is not None\n"
        "    except SystemExit:\n"
        "        said[' '.join(words)] = False\n"
        "print('\\n' + json.dumps(said))\n"
    )
    wrong = ["jobs", "check", "--job-type", "NoSuchJob"]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([list(words[1:]) for words in commands] + [wrong]),
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    assert said.pop(" ".join(wrong)) is False
    assert [command for command, accepted in said.items() if not accepted] == []
    assert len(said) == len(commands)


def test_every_other_program_is_known() -> None:
    known = {"set", "umask", "cp", "true", "airflow", "edupa", "python", "celery"}
    for name, words in programs():
        assert words[0] in known, f"{name}: {words[0]}"
        for word in words:
            if word.startswith("/opt/edupa/") and word.endswith(".py"):
                assert (ROOT / word.removeprefix("/opt/edupa/")).is_file(), word
    from typer.main import get_command

    from edupa.cli import app

    used = {tuple(words[1:]) for _, words in programs() if words[0] == "edupa"}
    assert used == {
        ("server", "start"), ("watchdog", "run", "--interval", "10"), ("watchdog", "once"), ("access", "check"),
    }  # fmt: skip
    for group, command, *_ in used:
        assert command in get_command(app).commands[group].commands  # type: ignore[attr-defined]


def test_shell_and_python_files_of_the_images_parse() -> None:
    scripts = sorted((ROOT / "deploy").rglob("*.sh"))
    assert len(scripts) >= 6
    for script in scripts:
        shell = "bash" if script.read_text(encoding="utf-8").startswith("#!/bin/bash") else "sh"
        subprocess.run([shell, "-n", str(script)], check=True)
    for source in sorted((ROOT / "deploy").rglob("*.py")):
        compile(source.read_text(encoding="utf-8"), str(source), "exec")


def test_metadata_databases_are_made_once_and_follow_a_new_password(warehouse: WarehouseConfig, tmp_path: Path) -> None:
    """What the service ``migrate`` does first, against a server named by URL as in production."""
    from dataclasses import replace

    from tests.deploy.script import load_script
    from warehouse.connection import connection_parts

    databases = load_script("deploy/airflow/databases.py")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("admin", "superset"):
        source = warehouse.secret("admin") if name == "admin" else "first-password"
        (secrets / name).write_text(source)
    databases.OWNERS = {"superset": "edupa_superset"}
    parts = connection_parts("admin", warehouse)
    config = replace(
        warehouse, secrets_dir=secrets, url=f"postgresql://{parts.user}@{parts.host}:{parts.port}/{parts.database}"
    )
    assert databases.prepare(config) == ["superset"]
    assert databases.prepare(config) == []
    (secrets / "superset").write_text("second-password")
    assert databases.prepare(config) == ["superset"]
    assert databases._accepted(config, "superset", "edupa_superset", "second-password")
    assert not databases._accepted(config, "superset", "edupa_superset", "first-password")


def test_production_settings_of_postgres_are_accepted_by_postgres_18(warehouse: WarehouseConfig) -> None:
    from warehouse.server import read_state

    state = read_state(warehouse)
    assert state is not None
    # below /tmp and open to all: PostgreSQL refuses to run as root
    with tempfile.TemporaryDirectory(prefix="edupa-conf-") as folder:
        Path(folder).chmod(0o755)
        shutil.copy(ROOT / "deploy/postgres/postgresql.conf", folder)
        Path(folder, "postgresql.conf").chmod(0o644)

        def ask(*more: str) -> tuple[int, str]:
            done = subprocess.run(
                [
                    f"{state.bin_dir}/postgres", "-C", "log_statement", "-D", folder,
                    "-c", f"config_file={folder}/postgresql.conf", *more,
                ],
                capture_output=True, text=True, check=False, cwd="/",
                user="nobody" if os.geteuid() == 0 else None,
            )  # fmt: skip
            return done.returncode, done.stdout.strip()

        assert ask() == (0, "none")
        with Path(folder, "postgresql.conf").open("a") as handle:
            handle.write("no_such_setting = 1\n")
        assert ask()[0] != 0


def test_postgres_asks_every_client_for_tls_and_scram() -> None:
    text = (ROOT / "deploy/postgres/pg_hba.conf").read_text(encoding="utf-8")
    rules = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert rules
    assert {(rule[0], rule[-1]) for rule in rules} == {
        ("local", "scram-sha-256"), ("hostssl", "scram-sha-256"), ("hostnossl", "reject"),
    }  # fmt: skip
    settings = dict(
        line.split("=", 1)
        for line in (ROOT / "deploy/postgres/postgresql.conf").read_text(encoding="utf-8").replace(" ", "").splitlines()
        if "=" in line and not line.startswith("#")
    )
    assert settings["password_encryption"] == "'scram-sha-256'"
    # what the trail of restricted reads needs is the same as in the embedded shape
    shared = ("logging_collector", "log_destination", "log_timezone", "log_error_verbosity", "log_min_error_statement")
    assert [settings[name] for name in shared] == [SETTINGS[name] for name in shared]
    assert "ssl=on" in SERVICES["postgres"]["command"]
    for name in sorted(SERVICES):
        if "postgres_ca" in SERVICES[name].get("secrets", []):
            assert SERVICES[name]["environment"]["PGSSLMODE"] == "verify-full"


def test_the_service_that_renews_passwords_cannot_reach_the_authoritys_key() -> None:
    access = SERVICES["access"]
    assert access["profiles"] == ["access"], "it runs when it is called"
    hidden = {volume["target"]: volume["source"] for volume in access["volumes"]}
    assert hidden["/run/secrets/postgres_ca_key"] == "/dev/null"
    whole = [name for name in SERVICES if "'./secrets'" in str(SERVICES[name].get("volumes"))]
    assert whole == ["access"]


def test_health_check_tells_good_from_bad(tmp_path: Path) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from tests.deploy.script import load_script

    answers = {
        "/good": b'{"metadatabase": {"status": "healthy"}}',
        "/bad": b'{"metadatabase": {"status": "unhealthy"}}',
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path)
            self.send_response(200 if body or self.path == "/bare" else 503)
            self.send_header("Content-Type", "application/json" if body else "text/plain")
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments: object) -> None:
            return None

    healthy = load_script("deploy/airflow/healthy.py")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        said = {path: healthy.main(base + path) for path in ("/good", "/bare", "/bad", "/down")}
        server.shutdown()
    assert said == {"/good": 0, "/bare": 0, "/bad": 1, "/down": 1}


def test_yaml_of_the_repository_root_has_no_duplicate_key() -> None:
    class Strict(yaml.SafeLoader):
        """Refuse a key that stands twice in one mapping; PyYAML keeps the last without a word."""

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> None:
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        assert len(keys) == len(set(keys)), f"duplicate key at {node.start_mark}"
        for _, value in node.value:
            loader.construct_object(value, deep=True)

    Strict.add_constructor("tag:yaml.org,2002:map", mapping)  # type: ignore[type-var]
    for name in ("docker-compose.yml", ".pre-commit-config.yaml"):
        yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader=Strict)
