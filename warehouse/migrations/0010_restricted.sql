-- Restricted ledgers: a county's own pupils, for that county's logins only; the trail of who read them; the watchdog.
-- Privileges stand in warehouse/roles.yaml, limits too; the ledgers themselves are made from it (warehouse/restricted.py).

do $$
declare role_name text;
begin
    foreach role_name in array array[
        'edupa_custodian',     -- owns the restricted ledgers and the register of county logins
        'edupa_namer',         -- owns the views that add names: the only reader of the vault beside ingest
        'edupa_observer',      -- owns the functions through which the watchdog sees sessions and the trail in the log
        'edupa_watchdog'       -- ends sessions that exceed policy, collects the trail of restricted reads
    ] loop
        if not exists (select 1 from pg_roles where rolname = role_name) then
            execute format('create role %I %s', role_name,
                           case when role_name = 'edupa_watchdog' then 'login' else 'nologin' end);
        end if;
    end loop;
    -- a name whose sessions cannot be told apart leaves no trail: every county has logins of its own in this group
    alter role edupa_county nologin password null;
end $$;

-- a reader needs no procedural language; without it nobody writes to the log or loops beside a statement
revoke usage on language plpgsql from public;
grant usage on language plpgsql to edupa_ingest, edupa_transform, edupa_sealed, edupa_custodian, edupa_observer;
-- large objects have no place here: what is put there escapes every rule on tables
revoke execute on function
    pg_catalog.lo_creat(integer), pg_catalog.lo_create(oid), pg_catalog.lo_from_bytea(oid, bytea),
    pg_catalog.lo_put(oid, bigint, bytea), pg_catalog.lowrite(integer, bytea)
from public;

create schema access authorization edupa_custodian;
create schema restricted authorization edupa_custodian;
create schema restricted_source authorization edupa_transform;
comment on schema access is 'Which login belongs to which county, which ledgers are restricted, and whether their trail is alive.';
comment on schema restricted is 'Ledgers of persons, row by row for the county that they belong to.';
comment on schema restricted_source is 'dbt: what the restricted ledgers are filled from after every build.';

-- what EXPLAIN estimates comes from statistics, and common names would show there
alter table vault.person_identity alter column person_name set statistics 0;
alter table vault.person_identity alter column identifier set statistics 0;

create table ledger.restricted_read (
    read_id          bigint generated always as identity primary key,
    read_at          timestamptz not null,
    login            text not null,
    relation         text not null,
    county_codes     text[] not null,
    application_name text,
    client           text,
    backend_pid      integer not null,
    session_id       text not null,
    collected_at     timestamptz not null default clock_timestamp()
);
create index restricted_read_login on ledger.restricted_read (login, read_at);
comment on table ledger.restricted_read is 'grain: one row per statement that read a restricted ledger, collected from the server log, so that a rollback keeps it';
comment on column ledger.restricted_read.relation is 'ledger or its view with names; a read through the view is a read of both. ?: a session wrote an entry that this system did not';
comment on column ledger.restricted_read.county_codes is 'counties whose rows the login could see';
comment on column ledger.restricted_read.application_name is 'as the client calls itself';

create table ledger.session_notice (
    notice_id        bigint generated always as identity primary key,
    noticed_at       timestamptz not null default clock_timestamp(),
    login            text not null,
    application_name text,
    backend_pid      integer not null,
    backend_start    timestamptz not null,
    since            timestamptz not null,
    reason           text not null check (reason in ('statement', 'idle_in_transaction', 'connections')),
    action           text not null check (action in ('warn', 'end')),
    allowed          text not null,
    unique (backend_pid, backend_start, since, reason, action)
);
comment on table ledger.session_notice is 'grain: one row per session × excess × action: the watchdog first warns, then ends';
comment on column ledger.session_notice.since is 'begin of the statement, of the idle transaction, or of the session';
comment on column ledger.session_notice.allowed is 'limit of the policy (warehouse/roles.yaml)';

set role edupa_custodian;

create table access.county_login (
    login       text not null,
    county_code text not null check (county_code ~ '^\d{6}$'),
    valid_from  date not null,
    valid_to    date check (valid_to >= valid_from),
    added_at    timestamptz not null default clock_timestamp(),
    primary key (login, county_code, valid_from)
);
comment on table access.county_login is 'grain: one row per login × county × begin; valid_to: first day on which it no longer holds, null: still holds';

create table access.restricted_relation (
    relation    text primary key,
    source      text not null,
    key_columns text[] not null,
    columns     text[] not null,
    definition  jsonb not null
);
comment on table access.restricted_relation is 'grain: one row per restricted ledger; written from warehouse/roles.yaml';

create table access.audit_proof (
    is_only     boolean primary key default true check (is_only),
    proved_at   timestamptz,
    max_silence interval not null
);
comment on table access.audit_proof is 'grain: one row: when an entry was last written to the server log and read back from it';
insert into access.audit_proof (max_silence) values ('15 min');

create table access.audit_position (
    log_file  text primary key,
    log_head  text not null,
    next_byte bigint not null
);
comment on table access.audit_position is 'grain: one row per log file: up to where the trail was collected; log_head tells a reused name';

-- Counties of the session's login; every statement that reads a restricted ledger asks once, and asking is noted in the
-- server log, which no rollback undoes and no reader can switch off. session_user: set role does not change it.
create function access.reader_counties(asked text) returns text[]
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    today  constant date := (clock_timestamp() at time zone 'Asia/Shanghai')::date;
    codes  text[];
    proof  access.audit_proof%rowtype;
begin
    if not exists (
        select from access.restricted_relation r where asked in ('restricted.' || r.relation, 'restricted.' || r.relation || '_named')
    ) then
        raise exception 'there is no restricted ledger of this name' using errcode = 'undefined_table';
    end if;
    select array_agg(distinct l.county_code order by l.county_code) into codes
    from access.county_login l
    where l.login = session_user and l.valid_from <= today and (l.valid_to is null or today < l.valid_to);
    if codes is null then
        raise exception 'login % belongs to no county today: % is not shown', session_user, asked
            using errcode = 'insufficient_privilege', hint = 'edupa access add-county';
    end if;
    select * into proof from access.audit_proof;
    if proof.proved_at is null or clock_timestamp() - proof.proved_at > proof.max_silence then
        raise exception 'the trail of restricted reads was last proved alive at %: without it % is not shown',
            coalesce(proof.proved_at::text, 'no time'), asked
            using errcode = 'object_not_in_prerequisite_state', hint = 'start the watchdog: edupa watchdog run';
    end if;
    raise log 'edupa read %', json_build_object('relation', asked, 'counties', codes);
    return codes;
end $$;

-- Bring a ledger to what dbt built: only rows that differ are touched, readers see the old state or the new one.
create function access.refresh_restricted(asked text, out removed bigint, out added bigint, out held bigint)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    known   access.restricted_relation%rowtype;
    wrong   text;
    keys    text;
    listed  text;
    same    text;
begin
    select * into known from access.restricted_relation where relation = asked;
    if not found then
        raise exception 'there is no restricted ledger %', asked
            using errcode = 'undefined_table', hint = 'enter it in warehouse/roles.yaml, restricted';
    end if;
    select string_agg(format('%s is %s, not %s', t.attname, coalesce(format_type(s.atttypid, s.atttypmod), 'missing'),
                             format_type(t.atttypid, t.atttypmod)), '; ' order by t.attnum)
    into wrong
    from pg_attribute t
    left join pg_attribute s on s.attrelid = known.source::regclass and s.attname = t.attname and not s.attisdropped
    where t.attrelid = format('restricted.%I', asked)::regclass and t.attnum > 0 and not t.attisdropped
      and (s.atttypid, s.atttypmod) is distinct from (t.atttypid, t.atttypmod);
    if wrong is not null then
        raise exception 'ledger % cannot be filled from %: %', asked, known.source, wrong
            using errcode = 'datatype_mismatch', hint = 'columns stand in warehouse/roles.yaml and in the dbt model';
    end if;
    select string_agg(format('s.%1$I = t.%1$I', k), ' and ') into keys from unnest(known.key_columns) k;
    select string_agg(format('s.%1$I is not distinct from t.%1$I', c), ' and ') into same from unnest(known.columns) c;
    select string_agg(format('%I', c), ', ') into listed from unnest(known.columns) c;
    execute format('delete from restricted.%I t where not exists (select from %s s where %s and %s)',
                   asked, known.source, keys, same);
    get diagnostics removed = row_count;
    execute format('insert into restricted.%1$I (%2$s) select %2$s from %3$s s'
                   ' where not exists (select from restricted.%1$I t where %4$s)', asked, listed, known.source, keys);
    get diagnostics added = row_count;
    execute format('analyze restricted.%I', asked);
    execute format('select count(*) from restricted.%I', asked) into held;
end $$;

-- written and read back by the watchdog: proof that entries arrive where they are collected
create function access.mark_log(mark text) returns void language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if mark !~ '^[0-9a-f]{32}$' then
        raise exception 'a mark is 32 hexadecimal digits' using errcode = 'invalid_parameter_value';
    end if;
    raise log 'edupa mark %', mark;
end $$;

reset role;

grant usage, create on schema access to edupa_observer;
-- pg_ls_logdir and its like give file names of the server; only these functions hold them
grant execute on function pg_catalog.pg_ls_logdir() to edupa_observer;
grant execute on function pg_catalog.pg_current_logfile(text) to edupa_observer;
grant execute on function pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) to edupa_observer;
grant pg_read_all_stats to edupa_observer;
set role edupa_observer;

-- JSON logs of the server, oldest first; none: it does not write them
create function access.log_files() returns table (log_file text, bytes bigint)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select l.name, l.size from pg_ls_logdir() l where l.name ~ '\.json$' order by l.modification, l.name
$$;

-- Up to a mebibyte of a log, whole lines only; of these our own entries and nothing else: the log may hold more.
create function access.read_log(log_file text, from_byte bigint, out log_head text, out next_byte bigint, out entries jsonb)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    at_most constant integer := 1048576;
    place   text := regexp_replace(pg_current_logfile('jsonlog'), '[^/]*$', '');
    part    bytea;
    whole   integer;
begin
    if log_file !~ '^[A-Za-z0-9_.-]+\.json$' or place is null then
        raise exception 'there is no such log' using errcode = 'invalid_parameter_value';
    end if;
    log_head := encode(sha256(pg_read_binary_file(place || log_file, 0, 64, false)), 'hex');
    part := pg_read_binary_file(place || log_file, from_byte, at_most, false);
    whole := length(part);
    while whole > 0 and get_byte(part, whole - 1) <> 10 loop
        whole := whole - 1;
    end loop;
    -- a line longer than that is none of ours: skipped
    next_byte := from_byte + case when whole = 0 and length(part) = at_most then at_most else whole end;
    select coalesce(jsonb_agg(jsonb_build_object(
        'read_at', e.entry -> 'timestamp', 'login', e.entry -> 'user', 'message', e.entry -> 'message',
        'application_name', e.entry -> 'application_name', 'client', e.entry -> 'remote_host',
        'backend_pid', e.entry -> 'pid', 'session_id', e.entry -> 'session_id') order by e.number), '[]')
    into entries
    from (
        select l.line::jsonb as entry, l.number
        from string_to_table(convert_from(substr(part, 1, whole), 'UTF8'), E'\n') with ordinality l (line, number)
        where l.line ~ '^\{.*\}$' and l.line ~ '"message":"edupa (read|mark) '
          and position(format('"dbname":%s', to_json(current_database()::text)) in l.line) > 0
    ) e
    where e.entry ->> 'error_severity' = 'LOG';
end $$;

-- what the watchdog needs to know of sessions: no statement, it could carry a personal value
create function access.sessions()
returns table (pid integer, login text, application_name text, state text, backend_start timestamptz,
               xact_start timestamptz, query_start timestamptz, state_change timestamptz)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select a.pid, a.usename::text, a.application_name, a.state, a.backend_start, a.xact_start, a.query_start, a.state_change
    from pg_stat_activity a
    where a.datname = current_database() and a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
$$;

reset role;
revoke create on schema access from edupa_observer;
