"""What every command of the command line shares: where it prints, and how it says that something went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import psycopg
import typer
from rich.console import Console

from edupa.settings import Settings
from warehouse.config import ConfigError
from warehouse.connection import AuthenticationError

# a pipe or a log has no width of its own; 120 columns keep the tables whole
out = Console(width=None if sys.stdout.isatty() else 120)
P = ParamSpec("P")
R = TypeVar("R")


def started(settings: Settings) -> Settings:
    """Start the embedded server if need be and bring the schema up to date."""
    from ingest import ensure_token_key
    from warehouse.migrate import migrate
    from warehouse.server import start

    start(settings.warehouse)
    migrate(settings.warehouse)
    ensure_token_key(settings.warehouse)
    return settings


def fail(message: str, code: int = 1) -> typer.Exit:
    """One sentence on stderr; raise the result."""
    print(f"edupa: {message}", file=sys.stderr)
    return typer.Exit(code)


def plainly(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user can act on into one sentence and exit code 1."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except AuthenticationError as error:
            raise fail(str(error)) from None
        except psycopg.OperationalError as error:
            raise fail(f"the warehouse does not answer: {str(error).splitlines()[0]}") from None
        except psycopg.Error as error:
            raise fail(f"the warehouse refuses: {str(error).splitlines()[0]}") from None
        except Exception as error:
            if isinstance(error, _expected()):
                raise fail(str(error)) from None
            raise

    return wrapper


def _expected() -> tuple[type[Exception], ...]:
    """Errors whose sentence tells the user what to do; imported when needed, for the sake of a fast start."""
    from disclosure.policy import PolicyError
    from disclosure.rounding import RoundingKeyError
    from edupa.worklist import WorklistError
    from expectations.waivers import WaiverError
    from ingest import CodeListError, ContractError, LandingDriftError, MatchingError, TokenKeyError
    from ingest.authoring import AuthoringError
    from ingest.quarantine import QuarantineError
    from warehouse.access import AccessError
    from warehouse.backup import BackupError
    from warehouse.canonical import ReleaseError
    from warehouse.locks import LockBusyError
    from warehouse.migrate import MigrationError
    from warehouse.server import ServerError
    from warehouse.transform import TransformError

    return (
        AccessError,
        AuthoringError,
        BackupError,
        CodeListError,
        ConfigError,
        ContractError,
        LandingDriftError,
        LockBusyError,
        MatchingError,
        MigrationError,
        PolicyError,
        QuarantineError,
        ReleaseError,
        RoundingKeyError,
        ServerError,
        TokenKeyError,
        TransformError,
        WaiverError,
        WorklistError,
    )
