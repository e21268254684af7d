"""Privileges follow one matrix: warehouse/roles.yaml is read, compared with the server, and the difference applied.

What the matrix does not name is taken away, PUBLIC first. Relations that the pipeline makes are named by a mark in
angle brackets; where a privilege depends on the state of such a relation (a release that is frozen but not published),
the step that changes the state grants it, and here it can only be taken away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql

Connection = psycopg.Connection[tuple[object, ...]]
# verb -> its columns, None: the whole relation
Verbs = dict[str, frozenset[str] | None]

ROLES_FILE = Path(__file__).with_name("roles.yaml")
TABLE_VERBS = ("select", "insert", "update", "delete", "truncate")

# marks of roles.yaml, most telling first: what the pipeline makes, and whether its privileges depend on its state
_MARKS: dict[str, tuple[str, bool]] = {
    "<frozen>": (r"releases\.\w+__\d+_\d+_\d+", True),
    "<pinned>": (r"release_\d+_\d+_\d+", True),
    "<candidate>": (r"candidate_\w+", True),
    "<named>": (r"\w+_named", False),
    "<ledger>": (r"[^.]+", False),
    "<feed>": (r"[^.]+", False),
    "<seed>": (r"[^.]+", False),
    "<model>": (r"[^.]+", False),
    "<mart>": (r"[^.]+", False),
}
# relations with these marks get their privileges when they are made, by default privileges of their maker
_GIVEN_AT_BIRTH = ("<feed>", "<seed>", "<model>")


class AccessError(RuntimeError):
    """The matrix or a request about access is wrong; the message says what and what to do."""


def database_role(role: str) -> str:
    """Name of a role in the database."""
    return f"edupa_{role}"


@dataclass(frozen=True)
class Matrix:
    """Content of roles.yaml, checked; see the file for what each part means."""

    roles: Mapping[str, Mapping[str, Any]]
    objects: Mapping[str, Mapping[str, Any]]
    grants: Mapping[str, Mapping[str, Any]]
    functions: Mapping[str, tuple[str, ...]]
    create_schema: tuple[str, ...]
    temporary: tuple[str, ...]
    memberships: Mapping[str, tuple[str, ...]]
    limits: Mapping[str, Mapping[str, Any]]
    restricted: Mapping[str, Mapping[str, Any]]
    audit: Mapping[str, Any] = field(default_factory=dict)

    def login_roles(self) -> tuple[str, ...]:
        """Roles that log in themselves."""
        return tuple(role for role, about in self.roles.items() if about.get("login", True))

    def verbs(self, role: str, thing: str, relation: str) -> Verbs:
        """What a role may do with a relation as roles.yaml writes it (marks included)."""
        said = self.grants.get(role, {}).get(thing, [])
        if isinstance(said, Mapping):
            said = said.get(relation, [])
        found: Verbs = {}
        for verb in said:
            if verb == "all":
                return dict.fromkeys((*TABLE_VERBS, "create"))
            if part := re.fullmatch(r"(\w+)\((.+)\)", verb):
                found[part[1]] = frozenset(column.strip() for column in part[2].split(","))
            else:
                found[verb] = None
        return found

    def holders(self, thing: str, verb: str = "select") -> tuple[str, ...]:
        """Database roles to which a verb on some relation of an object is granted; not its owner."""
        return tuple(
            database_role(role)
            for role, things in self.grants.items()
            if "all" not in things.get(thing, ())
            and any(verb in self.verbs(role, thing, relation) for relation in self.objects[thing]["relations"])
        )


def _check(matrix: Matrix, verbs: Iterable[str]) -> None:
    known = {*verbs, "all"}
    roles = set(matrix.roles)
    if set(matrix.grants) != roles:
        raise AccessError(f"roles.yaml: roles and grants differ: {', '.join(sorted(set(matrix.grants) ^ roles))}")
    named: dict[str, Iterable[str]] = {
        "create_schema": matrix.create_schema,
        "temporary": matrix.temporary,
        "memberships": matrix.memberships,
        "limits": matrix.limits,
        **{f"functions.{name}": holders for name, holders in matrix.functions.items()},
    }
    for place, names in named.items():
        if unknown := sorted(set(names) - roles):
            raise AccessError(f"roles.yaml: {place} names no role of the matrix: {', '.join(unknown)}")
    for role, things in matrix.grants.items():
        if unknown := sorted(set(things) - set(matrix.objects)):
            raise AccessError(f"roles.yaml: grants of {role} name no object of the matrix: {', '.join(unknown)}")
        for thing, said in things.items():
            relations = matrix.objects[thing]["relations"]
            if isinstance(said, Mapping) and (unknown := sorted(set(said) - set(relations))):
                raise AccessError(f"roles.yaml: {role}, {thing}: no such relation: {', '.join(unknown)}")
            for relation in relations:
                if unknown := sorted(set(matrix.verbs(role, thing, relation)) - known):
                    raise AccessError(f"roles.yaml: {role}, {thing}: unknown verb {', '.join(unknown)}")


def read_matrix(text: str) -> Matrix:
    """Read and check the matrix.

    Raises:
        AccessError: a role, object, relation or verb is named that the matrix does not know.
    """
    said = yaml.safe_load(text)
    matrix = Matrix(
        roles=said["roles"],
        objects=said["objects"],
        grants=said["grants"],
        functions={name: tuple(holders) for name, holders in said.get("functions", {}).items()},
        create_schema=tuple(said["create_schema"]),
        temporary=tuple(said["temporary"]),
        memberships={role: tuple(others) for role, others in said["memberships"].items()},
        limits=said.get("limits", {}),
        restricted=said.get("restricted", {}),
        audit=said.get("audit", {}),
    )
    _check(matrix, said["verbs"])
    return matrix


@lru_cache(maxsize=1)
def load_matrix() -> Matrix:
    """The matrix of this installation (warehouse/roles.yaml)."""
    return read_matrix(ROLES_FILE.read_text(encoding="utf-8"))


# --- what a relation of the server is in the matrix ---------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where a relation stands in the matrix; thing None: nowhere, nobody but its owner may touch it."""

    thing: str | None
    relation: str
    depends_on_state: bool = False


def _pattern(template: str) -> tuple[re.Pattern[str], bool] | None:
    """Regular expression of a relation named with a mark; a schema's mark stands for all of its relations."""
    for mark, (expression, depends_on_state) in _MARKS.items():
        if template == mark:
            return re.compile(expression), depends_on_state
        if template.startswith(mark + "."):
            return re.compile(expression + r"\.[^.]+"), depends_on_state
        if template.endswith("." + mark):
            return re.compile(re.escape(template.removesuffix(mark)) + expression), depends_on_state
    return None


class _Places:
    """Finds the place of a relation or schema."""

    def __init__(self, matrix: Matrix) -> None:
        self._exact: dict[str, str] = {}
        patterns: list[tuple[int, re.Pattern[str], str, str, bool]] = []
        marks = list(_MARKS)
        for thing, about in matrix.objects.items():
            for template in about["relations"]:
                found = _pattern(template)
                if found is None:
                    self._exact[template] = thing
                else:
                    rank = next(number for number, mark in enumerate(marks) if mark in template)
                    patterns.append((rank, found[0], thing, template, found[1]))
        self._patterns = sorted(patterns, key=lambda pattern: pattern[0])
        self.schemas: dict[str, list[str]] = {}
        for thing, about in matrix.objects.items():
            self.schemas.setdefault(about["schema"], []).append(thing)
        for name in matrix.functions:
            self.schemas.setdefault(name.split(".")[0], [])

    def relation(self, name: str) -> _Place:
        if name in self._exact:
            return _Place(self._exact[name], name)
        for _, pattern, thing, template, depends_on_state in self._patterns:
            if pattern.fullmatch(name):
                return _Place(thing, template, depends_on_state)
        return _Place(None, name)

    def schema(self, name: str) -> tuple[list[str], bool] | None:
        """Objects that lie in a schema, and whether its privileges depend on its state; None: not of the matrix."""
        if name in self.schemas:
            return self.schemas[name], False
        for mark in ("<pinned>", "<candidate>"):
            if re.fullmatch(_MARKS[mark][0], name):
                return self.schemas.get(mark, []), True
        return None


# --- differences ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Change:
    """One statement that brings the server closer to the matrix; revocations from PUBLIC sort first."""

    rank: int
    text: str

    def __str__(self) -> str:
        return self.text


_OURS = (
    "n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'public')"  # PostgreSQL's own, and the empty one
)


def _grantee(name: str | None) -> sql.Composable:
    return sql.SQL("public") if name is None else sql.Identifier(name)


class _Comparison:
    """Compares a server with the matrix."""

    def __init__(self, conn: Connection, matrix: Matrix) -> None:
        self._conn = conn
        self._matrix = matrix
        self._places = _Places(matrix)
        self._roles = {database_role(role): role for role in matrix.roles}
        self.changes: list[Change] = []

    def _add(self, statement: sql.Composed, *, revokes_from: str | None = "") -> None:
        rank = 2 if revokes_from == "" else 0 if revokes_from is None else 1
        self.changes.append(Change(rank, statement.as_string(self._conn)))

    def _settle(
        self,
        on: sql.Composable,
        wanted: Mapping[str, Verbs],
        actual: Iterable[tuple[str | None, str, str | None]],
        *,
        may_grant: bool = True,
    ) -> None:
        """Revoke what is not wanted, grant what is missing; ``actual`` is (grantee, privilege, column)."""
        present: set[tuple[str | None, str, str | None]] = set()
        surplus: dict[tuple[str | None, str], set[str | None]] = {}
        for grantee, privilege, column in actual:
            verb = privilege.lower()
            columns = wanted.get(grantee or "", {}).get(verb, frozenset())
            if columns is None or (column is not None and column in columns):
                present.add((grantee, verb, column))
            else:
                surplus.setdefault((grantee, verb), set()).add(column)
        for (grantee, verb), names in sorted(surplus.items(), key=repr):
            self._add(
                sql.SQL("revoke {} on {} from {}").format(_privilege(verb, names - {None}), on, _grantee(grantee)),
                revokes_from=grantee,
            )
            # revoking from the relation takes the column's privilege too
            present = {entry for entry in present if None not in names or entry[:2] != (grantee, verb)}
        if not may_grant:
            return
        for grantee, verbs in sorted(wanted.items()):
            for verb, columns in verbs.items():
                if columns is None:
                    if (grantee, verb, None) not in present:
                        self._add(sql.SQL("grant {} on {} to {}").format(sql.SQL(verb), on, _grantee(grantee)))
                elif missing := {column for column in columns if (grantee, verb, column) not in present}:
                    self._add(sql.SQL("grant {} on {} to {}").format(_privilege(verb, missing), on, _grantee(grantee)))

    def relations(self) -> None:
        rows = self._conn.execute(
            f"""
            select n.nspname, c.relname, c.relkind::text, pg_get_userbyid(c.relowner)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and {_OURS}
            order by n.nspname, c.relname
            """.encode()
        ).fetchall()
        acl = self._acl_rows()
        for schema, name, kind, owner in rows:
            if self._places.schema(str(schema)) is None:
                continue
            full = f"{schema}.{name}"
            place = self._places.relation(full)
            wanted: dict[str, Verbs] = {}
            if place.thing is not None and kind != "S":
                for role in self._matrix.roles:
                    verbs = self._matrix.verbs(role, place.thing, place.relation)
                    verbs.pop("create", None)
                    if verbs and database_role(role) != owner:
                        wanted[database_role(role)] = verbs
            on = sql.SQL("{} {}").format(
                sql.SQL("sequence" if kind == "S" else "table"), sql.Identifier(str(schema), str(name))
            )
            self._settle(
                on,
                wanted,
                [entry for entry in acl.get(full, []) if entry[0] != owner],
                may_grant=not place.depends_on_state,
            )

    def _acl_rows(self) -> dict[str, list[tuple[str | None, str, str | None]]]:
        found: dict[str, list[tuple[str | None, str, str | None]]] = {}
        rows = self._conn.execute(
            f"""
            select n.nspname || '.' || c.relname,
                   case when x.grantee <> 0 then pg_get_userbyid(x.grantee)::text end, x.privilege_type, null::text
            from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join lateral aclexplode(c.relacl) x
            where {_OURS}
            union all
            select n.nspname || '.' || c.relname,
                   case when x.grantee <> 0 then pg_get_userbyid(x.grantee)::text end, x.privilege_type, a.attname::text
            from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            cross join lateral aclexplode(a.attacl) x
            where not a.attisdropped and {_OURS}
            """.encode()
        ).fetchall()
        for relation, grantee, privilege, column in rows:
            found.setdefault(str(relation), []).append(
                (None if grantee is None else str(grantee), str(privilege), None if column is None else str(column))
            )
        return found

    def _schema_verbs(self, things: Iterable[str], name: str) -> dict[str, Verbs]:
        wanted: dict[str, Verbs] = {}
        for role in self._matrix.roles:
            verbs: Verbs = {}
            for thing in things:
                for relation in self._matrix.objects[thing]["relations"]:
                    held = self._matrix.verbs(role, thing, relation)
                    if held:
                        verbs["usage"] = None
                    if "create" in held:
                        verbs["create"] = None
            if any(
                function.split(".")[0] == name and role in holders
                for function, holders in self._matrix.functions.items()
            ):
                verbs["usage"] = None
            if verbs:
                wanted[database_role(role)] = verbs
        return wanted

    def schemas(self) -> None:
        rows = self._conn.execute(
            f"""
            select n.nspname, pg_get_userbyid(n.nspowner),
                   case when x.grantee <> 0 then pg_get_userbyid(x.grantee)::text end, x.privilege_type
            from pg_namespace n left join lateral aclexplode(n.nspacl) x on true
            where {_OURS} order by n.nspname
            """.encode()
        ).fetchall()
        owners = {str(schema): str(owner) for schema, owner, _, _ in rows}
        for schema, owner in owners.items():
            found = self._places.schema(schema)
            if found is None:
                continue
            things, depends_on_state = found
            actual = [
                (None if grantee is None else str(grantee), str(privilege), None)
                for name, _, grantee, privilege in rows
                if name == schema and privilege is not None and grantee != owner
            ]
            wanted = {
                grantee: verbs for grantee, verbs in self._schema_verbs(things, schema).items() if grantee != owner
            }
            on = sql.SQL("schema {}").format(sql.Identifier(schema))
            self._settle(on, wanted, actual, may_grant=not depends_on_state)
        self._default_privileges(owners)

    def _default_privileges(self, owners: Mapping[str, str]) -> None:
        """What relations that the pipeline will make are given at birth; only marks that depend on no state."""
        wanted: dict[tuple[str, str], dict[str, Verbs]] = {}
        for thing, about in self._matrix.objects.items():
            schema = str(about["schema"])
            for template in about["relations"]:
                if schema not in owners or template not in (f"{schema}.{mark}" for mark in _GIVEN_AT_BIRTH):
                    continue
                for role in self._matrix.roles:
                    verbs = self._matrix.verbs(role, thing, template)
                    verbs.pop("create", None)
                    if verbs and database_role(role) != owners[schema]:
                        wanted.setdefault((owners[schema], schema), {})[database_role(role)] = verbs
        rows = self._conn.execute(
            """
            select pg_get_userbyid(d.defaclrole), n.nspname, d.defaclobjtype::text,
                   case when x.grantee <> 0 then pg_get_userbyid(x.grantee)::text end, x.privilege_type
            from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
            cross join lateral aclexplode(d.defaclacl) x
            where x.grantee <> d.defaclrole and d.defaclrole = any(select oid from pg_roles where rolname = any(%s))
            """,
            (list(self._roles),),
        ).fetchall()
        kinds = {"r": "tables", "S": "sequences", "f": "functions", "T": "types", "n": "schemas", "L": "large objects"}
        present: set[tuple[str, str, str, str]] = set()
        for owner, given_in, kind, grantee, privilege in rows:
            place = None if given_in is None else str(given_in)
            if (found := self._places.schema(str(place))) and found[1]:
                continue  # grant_schema gave them, and they go with the schema
            verb = str(privilege).lower()
            given = wanted.get((str(owner), str(place)), {}).get(str(grantee), {})
            if place is not None and kind == "r" and given.get(verb, frozenset()) is None:
                present.add((str(owner), str(place), str(grantee), verb))
            elif place is not None or grantee is not None:
                self._add(
                    sql.SQL("alter default privileges for role {} {} revoke {} on {} from {}").format(
                        sql.Identifier(str(owner)),
                        sql.SQL("in schema {}").format(sql.Identifier(str(place))) if place else sql.SQL(""),
                        sql.SQL(verb),
                        sql.SQL(kinds[str(kind)]),
                        _grantee(None if grantee is None else str(grantee)),
                    ),
                    revokes_from=None if grantee is None else str(grantee),
                )
        for (owner, schema), given_to in sorted(wanted.items()):
            for grantee, verbs in sorted(given_to.items()):
                for verb, columns in verbs.items():
                    if columns is None and (owner, schema, grantee, verb) not in present:
                        self._add(
                            sql.SQL(
                                "alter default privileges for role {} in schema {} grant {} on tables to {}"
                            ).format(
                                sql.Identifier(owner), sql.Identifier(schema), sql.SQL(verb), sql.Identifier(grantee)
                            )
                        )

    def functions(self) -> None:
        rows = self._conn.execute(
            f"""
            select n.nspname, p.oid::regprocedure::text, p.proname, pg_get_userbyid(p.proowner),
                   case when x.grantee <> 0 then pg_get_userbyid(x.grantee)::text end, x.privilege_type
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            left join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x on true
            where {_OURS} order by 2
            """.encode()
        ).fetchall()
        seen: dict[str, tuple[str, str]] = {}
        for schema, signature, name, owner, _, _ in rows:
            if self._places.schema(str(schema)) is not None:
                seen[str(signature)] = (f"{schema}.{name}", str(owner))
        for signature, (name, owner) in seen.items():
            actual = [
                (None if row[4] is None else str(row[4]), str(row[5]), None)
                for row in rows
                if row[1] == signature and row[5] is not None and row[4] != owner
            ]
            wanted: dict[str, Verbs] = {
                database_role(role): {"execute": None}
                for role in self._matrix.functions.get(name, ())
                if database_role(role) != owner
            }
            # regprocedure quotes what needs quoting
            self._settle(sql.SQL("routine {}").format(sql.SQL(signature)), wanted, actual)

    def database(self) -> None:
        rows = self._conn.execute(
            """
            select case when x.grantee <> 0 then pg_get_userbyid(x.grantee)::text end, x.privilege_type
            from pg_database d cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x
            where d.datname = current_database() and x.grantee <> d.datdba
            """
        ).fetchall()
        wanted: dict[str, Verbs] = {}
        for role, about in self._matrix.roles.items():
            verbs: Verbs = {}
            # a group's members connect by its privilege
            if about.get("login", True) or about.get("group", False):
                verbs["connect"] = None
            if role in self._matrix.temporary:
                verbs["temporary"] = None
            if role in self._matrix.create_schema:
                verbs["create"] = None
            if verbs:
                wanted[database_role(role)] = verbs
        # people's own logins connect by their role, but one named by hand may stay
        actual = [
            (None if grantee is None else str(grantee), str(privilege), None)
            for grantee, privilege in rows
            if grantee is None or str(grantee) in self._roles
        ]
        name = self._conn.info.dbname
        self._settle(sql.SQL("database {}").format(sql.Identifier(name)), wanted, actual)

    def memberships(self) -> None:
        rows = self._conn.execute(
            "select pg_get_userbyid(member)::text, pg_get_userbyid(roleid)::text from pg_auth_members"
            " where pg_get_userbyid(member) = any(%s)",
            (list(self._roles),),
        ).fetchall()
        present = {(str(member), str(group)) for member, group in rows}
        wanted = {
            (database_role(role), group if group.startswith("pg_") else database_role(group))
            for role, groups in self._matrix.memberships.items()
            for group in groups
        }
        for member, group in sorted(present - wanted):
            self._add(
                sql.SQL("revoke {} from {}").format(sql.Identifier(group), sql.Identifier(member)), revokes_from=member
            )
        for member, group in sorted(wanted - present):
            self._add(sql.SQL("grant {} to {}").format(sql.Identifier(group), sql.Identifier(member)))


def _privilege(verb: str, columns: Iterable[str | None]) -> sql.Composable:
    names = sorted(column for column in columns if column is not None)
    if not names:
        return sql.SQL(verb)
    return sql.SQL("{} ({})").format(sql.SQL(verb), sql.SQL(", ").join(map(sql.Identifier, names)))


def differences(conn: Connection, matrix: Matrix | None = None) -> list[Change]:
    """Statements that would bring the server to the matrix, in the order in which they must run; none: no drift.

    Args:
        conn: the administrator's connection.
        matrix: another matrix than that of this installation.
    """
    comparison = _Comparison(conn, matrix or load_matrix())
    comparison.database()
    comparison.memberships()
    comparison.schemas()
    comparison.relations()
    comparison.functions()
    return sorted(comparison.changes)


def apply_grants(conn: Connection, matrix: Matrix | None = None) -> list[Change]:
    """Bring the server to the matrix in one transaction; where nothing differs, nothing is written.

    Args:
        conn: the administrator's connection.
        matrix: another matrix than that of this installation.

    Returns:
        What was changed.
    """
    with conn.transaction():
        changes = differences(conn, matrix)
        for change in changes:
            conn.execute(change.text.encode())
    return changes


def grant_schema(conn: Connection, thing: str, schema: str) -> None:
    """Give a schema that the pipeline has just made, and what will be made in it, the privileges of its object.

    Args:
        conn: connection of the schema's owner, which makes the relations too.
        thing: object of the matrix whose schema is a mark, e.g. ``candidate``.
        schema: the schema.
    """
    matrix = load_matrix()
    row = conn.execute("select current_user").fetchone()
    name = sql.Identifier(schema)
    for role in matrix.roles:
        verbs = {
            verb
            for relation in matrix.objects[thing]["relations"]
            for verb in matrix.verbs(role, thing, relation)
            if verb in TABLE_VERBS
        }
        grantee = database_role(role)
        if not verbs or (row and grantee == row[0]):
            continue
        held = sql.SQL(", ").join(sql.SQL(verb) for verb in TABLE_VERBS if verb in verbs)
        conn.execute(sql.SQL("grant usage on schema {} to {}").format(name, sql.Identifier(grantee)))
        conn.execute(
            sql.SQL("alter default privileges in schema {} grant {} on tables to {}").format(
                name, held, sql.Identifier(grantee)
            )
        )
