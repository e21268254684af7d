"""Role and database for Airflow and for Superset on the production server, with the passwords of their secret files.

Run by the one-shot service ``migrate``; run again, it changes nothing but a password that was renewed. The embedded
shape needs none of it (warehouse.migrate.ensure_airflow_database).
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from warehouse.config import WarehouseConfig, load_config
from warehouse.connection import connect, connection_parts

# metadata database -> role that owns it; the secret's file is named like the database
OWNERS = {"airflow": "edupa_airflow", "superset": "edupa_superset"}


def _accepted(config: WarehouseConfig, database: str, role: str, password: str) -> bool:
    parts = connection_parts("admin", config)
    try:
        with psycopg.connect(
            host=parts.host, port=parts.port, dbname=database, user=role, password=password, connect_timeout=10
        ):
            return True
    except psycopg.OperationalError:
        return False


def prepare(config: WarehouseConfig) -> list[str]:
    """Create what is missing.

    Returns:
        Names of the databases that were created or whose role got a new password.

    Raises:
        ConfigError: a secret is missing.
        psycopg.Error: the server refuses.
    """
    changed: list[str] = []
    for database, role in OWNERS.items():
        password = config.secret(database)
        if _accepted(config, database, role, password):
            continue
        with connect("admin", config, autocommit=True) as admin:
            if not admin.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
                admin.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
            verifier = admin.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            admin.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier)))
            if not admin.execute("select 1 from pg_database where datname = %s", (database,)).fetchone():
                admin.execute(
                    sql.SQL("create database {} owner {}").format(sql.Identifier(database), sql.Identifier(role))
                )
            admin.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(database)))
        changed.append(database)
    return changed


if __name__ == "__main__":
    done = prepare(load_config())
    print(f"databases: {', '.join(done) if done else 'nothing to do'}")
