"""Superset's administrator and its connection to the published marts; run again, it changes nothing.

The administrator's password comes from a file once, at creation; afterwards it is changed in Superset itself.
"""

from __future__ import annotations

from superset.app import create_app

DATABASE = "edupa 发布数据 (marts)"


def main() -> None:
    """Create what is missing and say what was done."""
    app = create_app()
    with app.app_context():
        import superset_config
        from superset import db, security_manager
        from superset.models.core import Database

        if security_manager.find_user(username="admin") is None:
            made = security_manager.add_user(
                username="admin",
                first_name="edupa",
                last_name="admin",
                email="admin@edupa.invalid",
                role=security_manager.find_role("Admin"),
                password=superset_config._secret("superset_admin"),
            )
            if not made:
                raise RuntimeError("the administrator could not be created: see the log above")
            print("administrator created, password in secrets/superset_admin")
        database = db.session.query(Database).filter_by(database_name=DATABASE).one_or_none()
        if database is None:
            # no password in the address: the password store of superset_config gives it at connection time
            database = Database(
                database_name=DATABASE,
                sqlalchemy_uri=superset_config.WAREHOUSE_URI,
                expose_in_sqllab=True,
                allow_ctas=False,
                allow_cvas=False,
                allow_dml=False,
                allow_file_upload=False,
            )
            db.session.add(database)
            db.session.commit()
            print(f"database {DATABASE!r} registered")


if __name__ == "__main__":
    main()
