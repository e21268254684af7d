"""Approvals and waivers of a candidate: who may say yes, for what, for how long; and what the release keeps of it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from edupa.cli import app
from tests.conftest import make_warehouse
from tests.warehouse.test_release import PROVENANCE, SCHEMA, build_candidate
from warehouse.approval import ApprovalError, Demand, answer, candidate_run, record_airflow_answer
from warehouse.canonical import ReleaseError
from warehouse.config import WarehouseConfig
from warehouse.connection import connect, connection_parts
from warehouse.login import connect_as
from warehouse.migrate import MIGRATIONS, migrate
from warehouse.release import ReleaseOutcome, candidate_sha256, publish_candidate
from warehouse.server import start, stop

# a steward, two approvers, one who may do both, and one who may run gates and approve
PEOPLE = {
    "li": "edupa_steward",
    "ma": "edupa_approver",
    "na": "edupa_approver",
    "hai": "edupa_steward, edupa_approver",
    "qin": "edupa_gatekeeper, edupa_approver",
}
RULE, REASON = "tried.rule", "泾源县补报中 the county is sending its file again"


@dataclass(frozen=True)
class House:
    """A warehouse and an evaluation year that no other test uses."""

    config: WarehouseConfig
    year: int


@pytest.fixture(scope="module")
def server() -> Iterator[WarehouseConfig]:
    """A server of its own, with a login for each person."""
    home = Path(tempfile.mkdtemp(prefix="edupa-approval-"))
    home.chmod(0o755)
    config = make_warehouse(home)
    with connect("admin", config) as admin:
        for person, roles in PEOPLE.items():
            admin.execute(f"create role {person} login password '{config.ensure_secret(person)}'".encode())
            admin.execute(f"grant {roles} to {person}".encode())
    yield config
    stop(config, mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


# later than any year before it: what is published becomes what is shown
_years = itertools.count(2021)


@pytest.fixture
def house(server: WarehouseConfig) -> House:
    """A candidate for a year of its own."""
    build_candidate(server, 70.0)
    return House(server, next(_years))


def judge(
    house: House,
    *,
    login: str = "edupa_gatekeeper",
    boundary: str = "candidate",
    decision: str = "pass",
    days: int = 14,
    run_id: str = "run",
    waiver: int | None = None,
) -> int:
    """A gate run on the candidate as it is, or on what arrived; one rule fails in one county, waived or not."""
    content = candidate_sha256(house.config, SCHEMA) if boundary == "candidate" else "what arrived"
    with connect_as(login, house.config) as conn:
        row = conn.execute(
            "insert into ledger.gate_run (boundary, run_id, evaluation_year, subject, subject_hash, decision,"
            " waiver_days_max, approval_days_max) values (%s, %s, %s, %s, %s, %s, 30, %s) returning gate_run_id",
            (boundary, run_id, house.year, SCHEMA if boundary == "candidate" else "landing", content, decision, days),
        ).fetchone()
        assert row
        if boundary == "arrival":
            conn.execute(
                "insert into ledger.gate_result (gate_run_id, suite, expectation_id, severity, success, county_code,"
                " period, observed, waivable, waiver_id)"
                " values (%s, 'tried', %s, 'block', false, '640424', '2019', '1 (缺报)', true, %s)",
                (row[0], RULE, waiver),
            )
    return int(str(row[0]))


def waive(house: House, proposer: str = "li", approver: str = "ma") -> int:
    """A waiver of what fails at arrival, and a run of both gates that follows it."""
    run = judge(house, boundary="arrival", decision="block")
    with connect_as(proposer, house.config) as conn:
        row = conn.execute(
            "insert into ledger.waiver (gate_run_id, expectation_id, county_code, reason, expires_at)"
            " values (%s, %s, '640424', %s, now() + interval '20 days') returning waiver_id",
            (run, RULE, REASON),
        ).fetchone()
    assert row
    number = int(str(row[0]))
    with connect_as(approver, house.config) as conn:
        conn.execute("update ledger.waiver set approved_by = session_user where waiver_id = %s", (number,))
    judge(house, boundary="arrival", decision="warn", run_id="waived", waiver=number)
    judge(house, run_id="waived")
    return number


def publish(house: House, approval: Demand = "cli", *, dry_run: bool = False) -> ReleaseOutcome:
    return publish_candidate(
        house.config, SCHEMA, evaluation_year=house.year, kind="annual", reason="test", provenance=PROVENANCE,
        run_id="test", approval=approval, dry_run=dry_run,
    )  # fmt: skip


def say(house: House, login: str, decision: str = "approve") -> int:
    with connect_as(login, house.config) as conn:
        return answer(conn, candidate_run(conn, str(house.year)).gate_run_id, decision, "看过质量门页面")  # type: ignore[arg-type]


def scalar(house: House, query: str) -> object:
    """First value of a query; ``:year`` is the test's own."""
    with connect("auditor", house.config) as conn:
        row = conn.execute(query.replace(":year", str(house.year)).encode()).fetchone()
    return row[0] if row else None


RELEASES = "select count(*) from ledger.release where evaluation_year = :year"


# --- asked for and not there ----------------------------------------------------------------------------------------


def test_nothing_goes_out_without_the_approval_that_is_asked_for(house: House) -> None:
    judge(house)
    for demand in ("cli", "airflow"):
        with pytest.raises(
            ApprovalError, match=rf"nobody approved the candidate of {house.year}.*`edupa release approve {house.year}`"
        ):
            publish(house, demand)  # type: ignore[arg-type]
    assert publish(house, dry_run=True).outcome == "dry_run"
    assert scalar(house, RELEASES) == 0
    say(house, "ma")
    assert publish(house).outcome == "published"
    assert scalar(house, "select approved_by from ledger.release where evaluation_year = :year") == "ma"
    assert scalar(house, "select approved_by from marts.release_registry where is_current") == "ma"
    notes = "select text_zh from marts.release_notes where section = 'approval'"
    assert scalar(house, notes) == "发布前由审批人（edupa_approver）批准。"


def test_where_none_is_asked_for_none_is_recorded(house: House) -> None:
    judge(house)
    assert publish(house, "none").outcome == "published"
    assert (
        scalar(house, "select approved_by is null and waivers = '[]' from ledger.release where evaluation_year = :year")
        is True
    )
    assert scalar(house, "select count(*) from marts.release_notes where section in ('waiver', 'approval')") == 0


def test_an_approval_is_for_that_content_only(house: House) -> None:
    judge(house)
    number = say(house, "ma")
    build_candidate(house.config, 71.0)
    judge(house)
    with pytest.raises(ApprovalError, match=f"approval {number} was for other content"):
        publish(house)
    # the content that was approved may come back, under another run of the gate
    build_candidate(house.config, 70.0)
    judge(house, run_id="later")
    assert publish(house).outcome == "published"


def test_the_newest_answer_counts_and_no_means_no(house: House) -> None:
    judge(house)
    say(house, "ma")
    number = say(house, "na", "reject")
    with pytest.raises(ApprovalError, match=rf"was rejected by na \(decision {number}\); nothing was published"):
        publish(house)
    assert scalar(house, RELEASES) == 0


def test_an_approval_expires(house: House) -> None:
    judge(house)
    number = say(house, "ma")
    with connect("admin", house.config) as conn:
        conn.execute("set session_replication_role = replica")
        conn.execute("update ledger.approval set expires_at = now() - interval '1 minute'")
    with pytest.raises(ApprovalError, match=f"approval {number} by ma expired on"):
        publish(house)


def test_an_approval_does_not_cover_a_waiver_that_came_later(house: House) -> None:
    judge(house)
    say(house, "na")
    waive(house)
    with pytest.raises(ApprovalError, match="given before another waiver was followed"):
        publish(house)
    say(house, "na")
    assert publish(house).outcome == "published"


# --- who may say yes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["li", "edupa_steward", "edupa_publisher", "edupa_gatekeeper"])
def test_whoever_is_no_approver_cannot_approve(house: House, login: str) -> None:
    run = judge(house)
    with (
        connect_as(login, house.config) as conn,
        pytest.raises(ApprovalError, match=r"not recorded: .*(denied|no member)"),
    ):
        answer(conn, run, "approve", "looked at it")


def test_who_ran_the_gate_cannot_approve_what_came_of_it(house: House) -> None:
    judge(house, login="qin")
    with pytest.raises(ApprovalError, match="qin ran it: another person has to approve it"):
        say(house, "qin")
    say(house, "qin", "reject")  # to stop it is always allowed
    say(house, "ma")


def test_who_proposed_a_waiver_cannot_approve_the_candidate_that_rests_on_it(house: House) -> None:
    waive(house, proposer="hai")
    with pytest.raises(ApprovalError, match="hai proposed a waiver that this candidate rests on"):
        say(house, "hai")
    say(house, "ma")


@pytest.mark.parametrize(
    ("of_gate", "message"),
    [
        ({"decision": "block"}, r"the candidate gate blocks: gate run \d+ cannot be approved"),
        ({"days": 0}, "under a policy without approvals; run the gate again"),
        ({"boundary": "arrival"}, "judged no candidate: there is nothing to approve"),
    ],
)
def test_what_cannot_be_approved(house: House, of_gate: dict[str, object], message: str) -> None:
    run = judge(house, **of_gate)  # type: ignore[arg-type]
    with connect_as("ma", house.config) as conn, pytest.raises(ApprovalError, match=message):
        answer(conn, run, "approve", "looked at it")


def test_a_candidate_that_was_judged_anew_is_approved_anew(house: House) -> None:
    run = judge(house)
    build_candidate(house.config, 71.0)
    newer = judge(house)
    with connect_as("ma", house.config) as conn:
        with pytest.raises(ApprovalError, match=rf"the data changed: gate run {newer} .*look at gate run {newer}"):
            answer(conn, run, "approve", "looked at it")
        with pytest.raises(ApprovalError, match="the remark is too short"):
            answer(conn, newer, "approve", " ok ")
        with pytest.raises(ApprovalError, match="no candidate gate was asked about 1999"):
            candidate_run(conn, "1999")


@pytest.mark.parametrize(
    "statement", ["update ledger.approval set decision = 'approve'", "delete from ledger.approval"]
)
def test_a_decision_is_never_changed(house: House, statement: str) -> None:
    judge(house)
    say(house, "ma", "reject")
    with connect("admin", house.config) as conn, pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        conn.execute(statement.encode())


# --- Airflow --------------------------------------------------------------------------------------------------------


def in_airflow(house: House, *, approved: bool, by: str | None, started_by: str | None) -> int:
    with connect("publisher", house.config) as conn:
        run = candidate_run(conn, "run").gate_run_id
        return record_airflow_answer(conn, run, approved=approved, decided_by=by, requested_by=started_by)


def test_an_answer_in_airflow_counts_where_airflow_is_asked(house: House) -> None:
    judge(house)
    in_airflow(house, approved=True, by="wang", started_by=None)
    with pytest.raises(ApprovalError, match="nobody approved"):
        publish(house, "cli")  # the publisher cannot stand in for an approver's own login
    assert publish(house, "airflow").outcome == "published"
    assert scalar(house, "select approved_by from ledger.release where evaluation_year = :year") == "wang"


def test_who_started_the_run_in_airflow_cannot_approve_it(house: House) -> None:
    judge(house)
    with pytest.raises(ApprovalError, match="wang ran it: another person has to approve it"):
        in_airflow(house, approved=True, by="wang", started_by="wang")
    with pytest.raises(ApprovalError, match="approval_by_somebody"):
        in_airflow(house, approved=True, by=None, started_by="wang")
    assert scalar(house, "select count(*) from ledger.approval where evaluation_year = :year") == 0


def test_only_the_publisher_writes_down_what_airflow_decided(house: House) -> None:
    run = judge(house)
    with connect_as("ma", house.config) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(
            "insert into ledger.approval (gate_run_id, decision, channel, remark, decided_by)"
            " values (%s, 'approve', 'airflow', 'looked at it', 'somebody')",
            (run,),
        )
    with (
        connect("publisher", house.config) as conn,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="no member"),
    ):
        conn.execute(
            "insert into ledger.approval (gate_run_id, decision, channel, remark, decided_by)"
            " values (%s, 'approve', 'cli', 'looked at it', 'ma')",
            (run,),
        )


# --- waivers of a release -------------------------------------------------------------------------------------------


def test_the_release_prints_and_keeps_the_waivers_that_it_rests_on(house: House) -> None:
    number = waive(house)
    assert publish(house, "none").outcome == "published"
    kept = scalar(house, "select waivers from ledger.release where evaluation_year = :year")
    assert isinstance(kept, list)
    assert [(w["waiver_id"], w["expectation_id"], w["proposed_by"], w["approved_by"]) for w in kept] == [
        (number, RULE, "li", "ma")
    ]
    assert kept[0]["cells"] == [{"county_code": "640424", "period": "2019", "observed": "1 (缺报)"}]
    note = "select text_zh || text_en from marts.release_notes where section = 'waiver'"
    text = str(scalar(house, note))
    for told in (RULE, "640424 2019: 1 (缺报)", REASON, "edupa_steward", "edupa_approver", "有效期至", "valid until"):
        assert told in text, told
    # the notes name roles; who it was stands in the ledger
    assert " li" not in text
    assert scalar(house, "select waiver_count from marts.release_registry where is_current") == 1
    with connect_as("li", house.config) as conn:
        conn.execute("update ledger.waiver set revocation_reason = '不再需要 over' where waiver_id = %s", (number,))
    assert scalar(house, note) == text, "what is frozen stays"


def test_a_waiver_revoked_between_gate_and_publication_stops_it(house: House) -> None:
    number = waive(house)
    with connect_as("ma", house.config) as conn:
        conn.execute("update ledger.waiver set revocation_reason = '不同意 no' where waiver_id = %s", (number,))
    with pytest.raises(ReleaseError, match=f"waiver {number} of rule tried.rule is revoked since.*run the gate again"):
        publish(house, "none")
    assert scalar(house, RELEASES) == 0


# --- command line ---------------------------------------------------------------------------------------------------


def run(house: House, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        app, words, env={"EDUPA_HOME": str(house.config.home), "EDUPA_EVALUATION_YEAR": str(house.year)}
    )
    return done.exit_code, done.output


def test_the_command_line_tells_what_it_did_and_why_not(house: House) -> None:
    words = ["waiver", "propose", RULE, "--reason", REASON, "--as", "li"]
    code, said = run(house, *words, "--expires", "20d")
    assert (code, f"no gate blocked evaluation year {house.year}" in said) == (1, True)
    gate_run = judge(house, boundary="arrival", decision="block")
    for expiry, message in (("soon", "write 2026-12-31, or 30d"), ("90d", "later than the 30 days"), ("-3d", "future")):
        code, said = run(house, *words, "--expires", expiry)
        assert (code, message in said) == (1, True), said
    code, said = run(house, *words, "--expires", "20d")
    assert code == 0, said
    assert f"proposed by li for gate run {gate_run}, content what arrived; it would cover:" in said
    number = said.split()[1]
    assert "  640424 2019: 1 (缺报)" in said
    assert "proposed" in run(house, "waiver", "list")[1]
    code, said = run(house, "waiver", "approve", number, "--as", "li")
    assert (code, "this login may not approve a waiver" in said) == (1, True)
    assert run(house, "waiver", "approve", number, "--as", "ma") == (
        0,
        f"waiver {number} approved by ma; it counts from the next run of the gate on\n",
    )
    shown = run(house, "waiver", "show", number)[1]
    for told in (f"waiver    {number}, approved", RULE, REASON, "li, ", "ma, ", "640424 2019: 1 (缺报)"):
        assert told in shown, told
    assert run(house, "waiver", "revoke", number, "--reason", "文件已补齐", "--as", "li")[0] == 0
    still = [line.split()[0] for line in run(house, "waiver", "list")[1].splitlines()]
    assert number not in still
    assert f"{number} " in run(house, "waiver", "list", "--all")[1]
    judge(house)
    code, said = run(house, "release", "approve", str(house.year), "--remark", "看过质量门页面", "--as", "na")
    assert (code, f"of the candidate of {house.year} (gate run" in said) == (0, True), said
    assert publish(house).outcome == "published"


def test_a_person_needs_an_own_password_and_no_other(house: House, tmp_path: Path) -> None:
    """On a machine that holds none of the roles' secrets."""
    judge(house)
    port = connection_parts("auditor", house.config).port
    (tmp_path / "ma").write_text(house.config.secret("ma"), encoding="utf-8")
    environment = {
        "EDUPA_HOME": str(tmp_path / "nothing"),
        "EDUPA_SECRETS_DIR": str(tmp_path),
        "EDUPA_WAREHOUSE_URL": f"postgresql://ma@127.0.0.1:{port}/edupa",
    }
    words = ["release", "approve", str(house.year), "--remark", "看过质量门页面"]
    done = CliRunner().invoke(app, words, env=environment)
    assert done.exit_code == 0, done.output
    assert done.output.endswith("by ma\n")
    assert CliRunner().invoke(app, ["waiver", "list", "--all"], env=environment).exit_code == 0
    refused = CliRunner().invoke(app, [*words, "--as", "edupa_approver"], env=environment)
    assert (refused.exit_code, "secret 'approver' is missing" in refused.output) == (1, True)


# --- the migration --------------------------------------------------------------------------------------------------


def test_releases_frozen_before_waivers_existed_stay_and_take_none(tmp_path: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="edupa-before-"))
    home.chmod(0o755)
    config = WarehouseConfig(home=home, secrets_dir=home / "secrets", durable=False)
    before = tmp_path / "migrations"
    before.mkdir()
    for path in MIGRATIONS.glob("000[1-5]_*.sql"):
        shutil.copy(path, before)
    start(config)
    try:
        with suppress(psycopg.Error):
            # the roles of later migrations may be missed; the schema of that day is there
            migrate(config, before)
        with connect("admin", config) as conn:
            conn.execute(
                "insert into ledger.gate_run (boundary, run_id, evaluation_year, subject, subject_hash, decision)"
                " values ('candidate', 'old', 2019, 'candidate_old', 'x', 'pass');"
                "insert into ledger.release (release_id, evaluation_year, kind, status, content_sha256, table_sha256,"
                " input_sha256, gate_run_id, reason) values ('2019.1.0', 2019, 'annual', 'frozen', 'x', '{}', '{}', 1,"
                " 'old');"
                'create table releases."release_notes__2019_1_0" (like releases.release_notes including constraints);'
                "insert into releases.\"release_notes__2019_1_0\" values ('2019.1.0', 1, 'gate', '旧', 'old');"
                'alter table releases."release_notes__2019_1_0" add primary key (release_id, note_number);'
                'alter table releases.release_notes attach partition releases."release_notes__2019_1_0"'
                " for values in ('2019.1.0');"
                'alter table releases."release_notes__2019_1_0" owner to edupa_sealed;'
                'create trigger frozen_rows before insert or update or delete on releases."release_notes__2019_1_0"'
                " for each row execute function releases.refuse_change()"
            )
        migrate(config)
        with connect("auditor", config) as conn:
            assert conn.execute("select waivers, approved_by from ledger.release").fetchall() == [([], None)]
        with connect("admin", config) as conn:
            assert conn.execute("select text_zh from releases.release_notes").fetchall() == [("旧",)]
            row = conn.execute("select judged_by, waiver_days_max, approval_days_max from ledger.gate_run").fetchone()
            assert row == (None, 0, 0)
        with connect("approver", config) as conn, pytest.raises(ApprovalError, match="policy without approvals"):
            answer(conn, 1, "approve", "looked at it")
    finally:
        stop(config, mode="immediate")
        shutil.rmtree(home, ignore_errors=True)
