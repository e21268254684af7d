"""Settings of Superset: metadata in its own database, published marts through the role edupa_bi, secrets from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SECRETS = Path(os.environ.get("SUPERSET_SECRETS_DIR", "/run/secrets"))
HOST = os.environ.get("SUPERSET_PG_HOST", "postgres")
PORT = int(os.environ.get("SUPERSET_PG_PORT", "5432"))
WAREHOUSE_URI = f"postgresql+psycopg2://edupa_bi@{HOST}:{PORT}/edupa"


def _secret(name: str) -> str:
    value = (SECRETS / name).read_text(encoding="utf-8").strip()
    if not value:
        raise RuntimeError(f"secret {name} is empty")
    return value


SECRET_KEY = _secret("superset_secret_key")
SQLALCHEMY_DATABASE_URI = f"postgresql+psycopg2://edupa_superset:{_secret('superset')}@{HOST}:{PORT}/superset"


def SQLALCHEMY_CUSTOM_PASSWORD_STORE(url: Any) -> str | None:
    """Password of a database connection: the warehouse's from its file, so that Superset stores none."""
    return _secret("bi") if url.username == "edupa_bi" else None


# a pool per process would hold many connections for few readers
SQLALCHEMY_ENGINE_OPTIONS = {"pool_size": 3, "max_overflow": 2, "pool_pre_ping": True}
PREVENT_UNSAFE_DB_CONNECTIONS = True

BABEL_DEFAULT_LOCALE = "zh"
LANGUAGES = {"zh": {"flag": "cn", "name": "简体中文"}, "en": {"flag": "us", "name": "English"}}
ROW_LIMIT = 10_000
SQL_MAX_ROW = 50_000
SUPERSET_WEBSERVER_TIMEOUT = 60

# behind one address and for few users; a proxy in front ends TLS, then SESSION_COOKIE_SECURE belongs to True
ENABLE_PROXY_FIX = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = os.environ.get("SUPERSET_BEHIND_TLS", "0") == "1"
WTF_CSRF_ENABLED = True
RATELIMIT_STORAGE_URI = "memory://"
TALISMAN_ENABLED = True
# http://127.0.0.1 is the published address, so no redirect to https from here
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": False,
    "session_cookie_secure": False,
}

# nobody may register, and a visitor without an account sees nothing
AUTH_USER_REGISTRATION = False
PUBLIC_ROLE_LIKE: str | None = None
FEATURE_FLAGS = {"ALERT_REPORTS": False, "EMBEDDED_SUPERSET": False, "ENABLE_TEMPLATE_PROCESSING": False}
