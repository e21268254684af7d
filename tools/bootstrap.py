"""Make `.venv` from `requirements.lock` with nothing but python3 at hand.

Debian's python3 has neither pip nor ensurepip, so pip comes along as a wheel (tools/README.md). pip installs uv from
`bootstrap.lock`, uv installs the rest; both check every file against its hash. Run again, it does nothing unless the
lock, the project's metadata or the interpreter changed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "tools"
VENV = ROOT / ".venv"
STAMP = VENV / "edupa-lock.sha256"
BOOT = VENV.with_name(".venv-bootstrap")


def fingerprint() -> str:
    """Changes when the environment has to be made again."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (ROOT / "requirements.lock", ROOT / "pyproject.toml", TOOLS / "bootstrap.lock", Path(__file__)):
        digest.update(path.read_bytes())
    digest.update(str(ROOT).encode())
    return digest.hexdigest()


def run(command: list[str], **variables: str) -> None:
    """Run a step; on failure show what it said and stop."""
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"bootstrap: {' '.join(command[:4])} … failed:\n{(done.stdout + done.stderr)[-3000:]}")


def uv_program() -> Path:
    """Uv in a folder of its own, installed by the pip that comes along."""
    program = BOOT / "bin" / "uv"
    if program.exists():
        return program
    wheel = next(TOOLS.glob("pip-*.whl"))
    pip = BOOT / "pip"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(pip)
    run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "--no-deps",
            "--disable-pip-version-check", "--root-user-action=ignore", "--target", str(BOOT / "uv"),
            "-r", str(TOOLS / "bootstrap.lock"),
        ],
        PYTHONPATH=str(pip),
    )  # fmt: skip
    program.parent.mkdir(parents=True, exist_ok=True)
    (BOOT / "uv" / "bin" / "uv").replace(program)
    return program


def main() -> None:
    """Make or refresh the environment."""
    if sys.version_info < (3, 11):
        sys.exit(f"bootstrap: python3 is {sys.version.split()[0]}; edupa needs 3.11 or newer")
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    began = time.monotonic()
    print("environment: making .venv from requirements.lock (about 1.1 GB, once) …", file=sys.stderr, flush=True)
    uv = str(uv_program())
    python = str(VENV / "bin" / "python")
    if not (VENV / "bin" / "python").exists():
        run([sys.executable, "-m", "venv", "--without-pip", str(VENV)])
    run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, str(ROOT / "requirements.lock")])
    run([uv, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--python", python, "-e", str(ROOT)])
    STAMP.write_text(wanted, encoding="utf-8")
    print(f"environment: ready ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
