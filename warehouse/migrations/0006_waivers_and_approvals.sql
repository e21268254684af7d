-- Waivers and approvals: who may let a failed rule pass, who may let a candidate out, and what the server itself refuses.
-- Identity is the login of the session (session_user), taken by the server: no statement can name somebody else, and a
-- member of both roles is still one login. People get logins of their own that are members of one role (docs/waivers.md).

do $$
declare role_name text;
begin
    foreach role_name in array array[
        'edupa_steward',       -- proposes waivers
        'edupa_approver'       -- approves waivers and candidates
    ] loop
        if not exists (select 1 from pg_roles where rolname = role_name) then
            execute format('create role %I login', role_name);
        end if;
        execute format('grant connect on database %I to %I', current_database(), role_name);
    end loop;
end $$;
grant usage on schema ledger to edupa_steward, edupa_approver;
grant select on ledger.gate_run, ledger.gate_result to edupa_steward, edupa_approver;

-- what a gate run says about itself: who ran it, and the policy of its day (expectations/suites/gate.yaml). 0 days, as
-- for every run before this migration: nothing of it may be waived or approved
alter table ledger.gate_run
    add column judged_by text,
    add column waiver_days_max integer not null default 0 check (waiver_days_max between 0 and 366),
    add column approval_days_max integer not null default 0 check (approval_days_max between 0 and 90);
comment on column ledger.gate_run.judged_by is 'login that ran the gate, set by the server';
comment on column ledger.gate_run.waiver_days_max is 'longest life of a waiver of what failed here, days';
comment on column ledger.gate_run.approval_days_max is 'life of an approval of what was judged here, days';

create function ledger.sign_gate_run() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    new.judged_by := session_user;
    return new;
end $$;
create trigger signed before insert on ledger.gate_run for each row execute function ledger.sign_gate_run();

create table ledger.waiver (
    waiver_id         bigint generated always as identity primary key,
    gate_run_id       bigint not null references ledger.gate_run,
    boundary          text not null,
    subject           text not null,
    subject_hash      text not null,
    evaluation_year   integer not null,
    suite             text not null,
    expectation_id    text not null,
    county_code       text not null default '*',
    period            text not null default '*',
    cells             jsonb not null check (jsonb_typeof(cells) = 'array' and cells <> '[]'),
    reason            text not null check (length(btrim(reason)) >= 10),
    expires_at        timestamptz not null,
    proposed_by       text not null,
    proposed_at       timestamptz not null,
    approved_by       text,
    approved_at       timestamptz,
    revoked_by        text,
    revoked_at        timestamptz,
    revocation_reason text check (length(btrim(revocation_reason)) >= 5),
    constraint waiver_two_people check (approved_by <> proposed_by),
    constraint waiver_expires check (expires_at > proposed_at and expires_at <= proposed_at + interval '366 days'),
    constraint waiver_approved_whole check ((approved_by is null) = (approved_at is null)),
    constraint waiver_revoked_whole check (
        num_nonnulls(revoked_by, revoked_at, revocation_reason) in (0, 3))
);
create index waiver_subject on ledger.waiver (subject_hash, expectation_id);
comment on table ledger.waiver is 'grain: one row per waiver ever proposed; never deleted. Its status is derived: ledger.waiver_state';
comment on column ledger.waiver.gate_run_id is 'gate run in which the failure was seen';
comment on column ledger.waiver.subject_hash is 'content hash of what was judged; the waiver is void for any other content';
comment on column ledger.waiver.county_code is 'county (or area) asked for; *: everywhere the rule failed';
comment on column ledger.waiver.period is 'period asked for; *: every period at which the rule failed';
comment on column ledger.waiver.cells is 'what it covers and nothing else: [{county_code, period, observed}], copied by the server from the gate run';
comment on column ledger.waiver.proposed_by is 'login, set by the server';
comment on column ledger.waiver.approved_by is 'login, set by the server; never the proposer';

-- Is what a gate run judged still what lies there? The newest run of the same boundary on the same schema knows.
create function ledger.refuse_if_data_changed(judged bigint) returns void language plpgsql stable set search_path = pg_catalog as $$
declare
    seen   ledger.gate_run%rowtype;
    newest ledger.gate_run%rowtype;
begin
    select * into seen from ledger.gate_run where gate_run_id = judged;
    select * into newest from ledger.gate_run
    where boundary = seen.boundary and subject = seen.subject order by gate_run_id desc limit 1;
    if newest.subject_hash is distinct from seen.subject_hash then
        raise exception 'the data changed: gate run % judged other content of % than gate run % did',
            newest.gate_run_id, seen.subject, seen.gate_run_id
            using errcode = 'check_violation',
                  hint = format('look at gate run %s and begin again from there', newest.gate_run_id);
    end if;
end $$;

create function ledger.propose_waiver() returns trigger language plpgsql set search_path = pg_catalog as $$
declare
    seen  ledger.gate_run%rowtype;
    found_rule record;
    failed_at text;
begin
    select * into seen from ledger.gate_run where gate_run_id = new.gate_run_id;
    if not found then
        raise exception 'there is no gate run %', new.gate_run_id using errcode = 'check_violation';
    end if;
    perform ledger.refuse_if_data_changed(seen.gate_run_id);
    select min(suite) as suite, bool_and(success) as held, bool_and(waivable) as waivable, max(severity) as severity,
           string_agg(county_code || ' ' || period, ', ' order by county_code, period) as places
    into found_rule
    from ledger.gate_result
    where gate_run_id = new.gate_run_id and expectation_id = new.expectation_id
    group by expectation_id;
    if not found then
        raise exception 'gate run % knows no rule %', new.gate_run_id, new.expectation_id
            using errcode = 'check_violation', hint = 'its page lists the rules that failed, with their ids';
    elsif found_rule.held then
        raise exception 'rule % did not fail in gate run %: there is nothing to waive', new.expectation_id, new.gate_run_id
            using errcode = 'check_violation', hint = 'its page lists the rules that failed, with their ids';
    elsif found_rule.severity = 'warn' then
        raise exception 'rule % only warns: it stops nothing and needs no waiver', new.expectation_id
            using errcode = 'check_violation';
    elsif not found_rule.waivable then
        raise exception 'rule % may not be waived by anybody: it guards identity, disclosure or control totals, or could not be evaluated',
            new.expectation_id
            using errcode = 'check_violation', hint = 'put the data right and run the gate again';
    end if;
    select jsonb_agg(jsonb_build_object('county_code', county_code, 'period', period, 'observed', observed)
                     order by county_code, period)
    into new.cells
    from ledger.gate_result
    where gate_run_id = new.gate_run_id and expectation_id = new.expectation_id and not success
      and new.county_code in ('*', county_code) and new.period in ('*', period);
    if new.cells is null then
        raise exception 'rule % did not fail at county %, period % in gate run %',
            new.expectation_id, new.county_code, new.period, new.gate_run_id
            using errcode = 'check_violation', hint = 'it failed at: ' || left(found_rule.places, 400);
    end if;
    new.proposed_by := session_user;
    new.proposed_at := clock_timestamp();
    if new.expires_at <= new.proposed_at then
        raise exception 'expiry % is not in the future', new.expires_at using errcode = 'check_violation';
    elsif new.expires_at > new.proposed_at + make_interval(days => seen.waiver_days_max) then
        raise exception 'expiry % is later than the % days that the policy of gate run % allows',
            new.expires_at, seen.waiver_days_max, seen.gate_run_id
            using errcode = 'check_violation', hint = 'the policy stands in expectations/suites/gate.yaml';
    end if;
    new.boundary := seen.boundary;
    new.subject := seen.subject;
    new.subject_hash := seen.subject_hash;
    new.evaluation_year := seen.evaluation_year;
    new.suite := found_rule.suite;
    new.approved_by := null;
    new.approved_at := null;
    new.revoked_by := null;
    new.revoked_at := null;
    new.revocation_reason := null;
    return new;
end $$;

-- Two things may ever happen to a waiver, each once: approval, then revocation. Everything else stays as proposed.
create function ledger.change_waiver() returns trigger language plpgsql set search_path = pg_catalog as $$
declare
    may_change constant text[] := array['approved_by', 'approved_at', 'revoked_by', 'revoked_at', 'revocation_reason'];
begin
    if to_jsonb(new) - may_change <> to_jsonb(old) - may_change then
        raise exception 'waiver % stays as it was proposed', old.waiver_id
            using errcode = 'object_not_in_prerequisite_state', hint = 'revoke it and propose another one';
    end if;
    if old.revoked_at is not null then
        raise exception 'waiver % was revoked on %: nothing can be done with it any more', old.waiver_id, old.revoked_at
            using errcode = 'check_violation', hint = 'propose another one';
    end if;
    if new.revocation_reason is not null then
        new.approved_by := old.approved_by;
        new.approved_at := old.approved_at;
        new.revoked_by := session_user;
        new.revoked_at := clock_timestamp();
        return new;
    end if;
    -- who may only revoke must not slip into an approval by an update that revokes nothing
    if new.approved_by is not distinct from old.approved_by and old.approved_by is null then
        raise exception 'waiver %: neither an approval nor a reason for revoking it was given', old.waiver_id
            using errcode = 'check_violation';
    elsif old.approved_by is not null then
        raise exception 'waiver % was approved already, by %', old.waiver_id, old.approved_by
            using errcode = 'check_violation', hint = 'to take it back, revoke it';
    elsif old.proposed_by = session_user then
        raise exception 'waiver % was proposed by %: another person has to approve it', old.waiver_id, old.proposed_by
            using errcode = 'check_violation', hint = 'a login that may do both still counts as one person';
    elsif old.expires_at <= clock_timestamp() then
        raise exception 'waiver % expired on %', old.waiver_id, old.expires_at
            using errcode = 'check_violation', hint = 'propose another one';
    end if;
    perform ledger.refuse_if_data_changed(old.gate_run_id);
    if exists (
        select 1 from ledger.gate_result as r
        where r.expectation_id = old.expectation_id and not r.success and not r.waivable
          and r.gate_run_id = (select max(g.gate_run_id) from ledger.gate_run as g
                               where g.boundary = old.boundary and g.subject = old.subject)
    ) then
        raise exception 'rule % may not be waived by anybody: it guards identity, disclosure or control totals, or could not be evaluated',
            old.expectation_id
            using errcode = 'check_violation', hint = 'put the data right and run the gate again';
    end if;
    new.approved_by := session_user;
    new.approved_at := clock_timestamp();
    new.revoked_by := null;
    new.revoked_at := null;
    return new;
end $$;

create function ledger.refuse_change() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    raise exception 'ledger table %.% keeps everything: % refused', tg_table_schema, tg_table_name, tg_op
        using errcode = 'object_not_in_prerequisite_state';
end $$;

create trigger proposed before insert on ledger.waiver for each row execute function ledger.propose_waiver();
create trigger changed before update on ledger.waiver for each row execute function ledger.change_waiver();
create trigger kept before delete on ledger.waiver for each row execute function ledger.refuse_change();
create trigger kept_whole before truncate on ledger.waiver for each statement execute function ledger.refuse_change();

-- status at the time of asking, by the server's clock; and whether the newest gate run judged other content
create view ledger.waiver_state as
select
    w.*,
    case
        when w.revoked_at is not null then 'revoked'
        when w.expires_at <= clock_timestamp() then 'expired'
        when w.approved_at is null then 'proposed'
        else 'approved'
    end as status,
    n.subject_hash is distinct from w.subject_hash as is_void
from ledger.waiver as w
cross join lateral (
    select g.subject_hash from ledger.gate_run as g
    where g.boundary = w.boundary and g.subject = w.subject
    order by g.gate_run_id desc limit 1
) as n;
comment on view ledger.waiver_state is 'grain: one row per waiver with its status now: proposed, approved, expired, revoked; is_void: the data changed since';

grant select on ledger.waiver, ledger.waiver_state
    to edupa_steward, edupa_approver, edupa_gatekeeper, edupa_publisher, edupa_auditor;
grant insert (gate_run_id, expectation_id, county_code, period, reason, expires_at) on ledger.waiver to edupa_steward;
grant update (revocation_reason) on ledger.waiver to edupa_steward;
grant update (approved_by, revocation_reason) on ledger.waiver to edupa_approver;

-- what a gate did with them: the waiver that let a failed cell pass
alter table ledger.gate_result
    add column waivable boolean not null default false,
    add column waiver_id bigint references ledger.waiver;
comment on column ledger.gate_result.waivable is 'whether two people together may let this failure pass';
comment on column ledger.gate_result.waiver_id is 'waiver that let this failure pass; null: none did';

create function ledger.check_waived_result() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    if not exists (
        select 1
        from ledger.waiver as w
        join ledger.gate_run as g on g.gate_run_id = new.gate_run_id
        where w.waiver_id = new.waiver_id and w.expectation_id = new.expectation_id
          and w.boundary = g.boundary and w.subject_hash = g.subject_hash
          and w.approved_at is not null and w.revoked_at is null and w.expires_at > clock_timestamp()
          and w.cells @> jsonb_build_array(jsonb_build_object(
              'county_code', new.county_code, 'period', new.period, 'observed', new.observed))
    ) or new.success or not new.waivable then
        raise exception 'waiver % does not cover rule % at county %, period % in gate run %',
            new.waiver_id, new.expectation_id, new.county_code, new.period, new.gate_run_id
            using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger waived before insert on ledger.gate_result for each row when (new.waiver_id is not null)
    execute function ledger.check_waived_result();

-- waivers that a candidate rests on: those of its own gate run and of the arrival gate run asked just before it
create function ledger.waivers_behind(candidate_gate_run bigint) returns bigint[] language sql stable
    set search_path = pg_catalog as $$
    select coalesce(array_agg(distinct r.waiver_id order by r.waiver_id), '{}')
    from ledger.gate_run as c
    join ledger.gate_result as r
        on r.gate_run_id = c.gate_run_id
        or r.gate_run_id = (
            select max(a.gate_run_id) from ledger.gate_run as a
            where a.boundary = 'arrival' and a.run_id = c.run_id and a.gate_run_id < c.gate_run_id
        )
    where c.gate_run_id = candidate_gate_run and r.waiver_id is not null
$$;
revoke all on function ledger.waivers_behind(bigint), ledger.refuse_if_data_changed(bigint), ledger.sign_gate_run(),
    ledger.propose_waiver(), ledger.change_waiver(), ledger.refuse_change(), ledger.check_waived_result() from public;
grant execute on function ledger.waivers_behind(bigint) to edupa_approver, edupa_publisher, edupa_auditor;
grant execute on function ledger.refuse_if_data_changed(bigint) to edupa_steward, edupa_approver, edupa_publisher;

-- approvals of a candidate
create table ledger.approval (
    approval_id     bigint generated always as identity primary key,
    gate_run_id     bigint not null references ledger.gate_run,
    decision        text not null check (decision in ('approve', 'reject')),
    channel         text not null default 'cli' check (channel in ('cli', 'airflow')),
    remark          text not null check (length(btrim(remark)) >= 5),
    evaluation_year integer not null,
    content_sha256  text not null,
    waiver_ids      bigint[] not null,
    requested_by    text,
    decided_by      text,
    recorded_by     text not null,
    decided_at      timestamptz not null,
    expires_at      timestamptz not null,
    constraint approval_two_people check (decision = 'reject' or decided_by is distinct from requested_by),
    constraint approval_by_somebody check (decision = 'reject' or decided_by is not null)
);
create index approval_content on ledger.approval (content_sha256, approval_id);
comment on table ledger.approval is 'grain: one row per decision on a candidate; the newest counts; never changed or deleted';
comment on column ledger.approval.channel is 'cli: decided in this database by a login that may; airflow: decided in Airflow''s web UI, written down by the task that followed';
comment on column ledger.approval.content_sha256 is 'content hash of the candidate that was judged and approved, and of no other';
comment on column ledger.approval.waiver_ids is 'waivers that the candidate rested on when it was approved';
comment on column ledger.approval.requested_by is 'cli: login that ran the gate; airflow: user that started the run, null: the schedule';
comment on column ledger.approval.decided_by is 'cli: login, set by the server; airflow: user of Airflow, null: nobody answered in time';

create function ledger.decide_approval() returns trigger language plpgsql set search_path = pg_catalog as $$
declare
    seen ledger.gate_run%rowtype;
    proposer text;
begin
    select * into seen from ledger.gate_run where gate_run_id = new.gate_run_id;
    if not found or seen.boundary <> 'candidate' or seen.subject_hash is null then
        raise exception 'gate run % judged no candidate: there is nothing to approve', new.gate_run_id
            using errcode = 'check_violation';
    end if;
    if new.channel = 'cli' then
        if not pg_has_role(session_user, 'edupa_approver', 'member') then
            raise exception '% is no member of edupa_approver', session_user using errcode = 'insufficient_privilege';
        end if;
        new.decided_by := session_user;
        new.requested_by := seen.judged_by;
    elsif not pg_has_role(session_user, 'edupa_publisher', 'member') then
        raise exception 'what Airflow decided is written down by edupa_publisher only' using errcode = 'insufficient_privilege';
    end if;
    new.recorded_by := session_user;
    new.decided_at := clock_timestamp();
    new.expires_at := new.decided_at + make_interval(days => seen.approval_days_max);
    new.evaluation_year := seen.evaluation_year;
    new.content_sha256 := seen.subject_hash;
    new.waiver_ids := ledger.waivers_behind(seen.gate_run_id);
    -- saying no is open to whoever may say yes; the rest concerns a yes
    if new.decision = 'approve' then
        if seen.decision = 'block' then
            raise exception 'the candidate gate blocks: gate run % cannot be approved', seen.gate_run_id
                using errcode = 'check_violation', hint = 'a waiver is for single rules and places';
        elsif seen.approval_days_max = 0 then
            raise exception 'gate run % was made under a policy without approvals', seen.gate_run_id
                using errcode = 'check_violation', hint = 'run the gate again';
        end if;
        perform ledger.refuse_if_data_changed(seen.gate_run_id);
        if new.decided_by = new.requested_by then
            raise exception '% ran it: another person has to approve it', new.decided_by
                using errcode = 'check_violation';
        end if;
        select w.proposed_by into proposer from ledger.waiver as w
        where w.waiver_id = any (new.waiver_ids) and w.proposed_by = new.decided_by limit 1;
        if found then
            raise exception '% proposed a waiver that this candidate rests on: another person has to approve it', proposer
                using errcode = 'check_violation';
        end if;
    end if;
    return new;
end $$;
revoke all on function ledger.decide_approval() from public;
create trigger decided before insert on ledger.approval for each row execute function ledger.decide_approval();
create trigger kept before update or delete on ledger.approval for each row execute function ledger.refuse_change();
create trigger kept_whole before truncate on ledger.approval for each statement execute function ledger.refuse_change();

grant select on ledger.approval to edupa_approver, edupa_publisher, edupa_auditor;
grant insert (gate_run_id, decision, remark) on ledger.approval to edupa_approver;
grant insert (gate_run_id, decision, channel, remark, requested_by, decided_by) on ledger.approval to edupa_publisher;

-- frozen with the release
alter table ledger.release
    add column waivers jsonb not null default '[]',
    add column approved_by text;
comment on column ledger.release.waivers is 'waivers that the release rests on: rule, cells with the value seen, reason, proposer, approver, expiry';
comment on column ledger.release.approved_by is 'who approved the candidate; null: no approval was asked for';

-- a constraint that all partitions inherit: what is frozen keeps its rows, the list of sections grows
alter table releases.release_notes drop constraint release_notes_section_check;
alter table releases.release_notes add constraint release_notes_section_check
    check (section in ('scope', 'reason', 'gate', 'waiver', 'change', 'assumption', 'protection'));
comment on column releases.release_notes.section is '类别 — scope, reason, gate, waiver, change, assumption, protection';

set role edupa_sealed;
create or replace view marts.release_registry as
select
    r.release_id, r.evaluation_year, r.kind, r.status, r.content_sha256, r.reason, r.git_commit,
    g.decision as gate_decision, r.frozen_at, r.published_at,
    r.release_id = (select p.release_id from releases.pointer as p) as is_current,
    jsonb_array_length(r.waivers) as waiver_count, r.approved_by
from ledger.release as r
join ledger.gate_run as g using (gate_run_id)
where r.status <> 'frozen';
reset role;
