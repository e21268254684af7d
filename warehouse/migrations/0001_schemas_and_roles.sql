-- Schemas and roles. PUBLIC has nothing; every privilege below is granted by name.
-- Roles are cluster-wide, so they are created only when missing; passwords are set by warehouse.server.

do $$
declare role_name text;
begin
    foreach role_name in array array[
        'edupa_sealed',        -- owns frozen releases, cannot log in
        'edupa_ingest',        -- writes vault, landing, quarantine, ledger
        'edupa_transform',     -- dbt: reads landing, builds staging, core, indicators, candidates
        'edupa_gatekeeper',    -- Great Expectations: reads landing and candidates, writes gate results
        'edupa_publisher',     -- freezes and publishes, nothing else
        'edupa_evaluator',     -- reads published marts and pinned releases
        'edupa_bi',            -- reads published marts
        'edupa_county',        -- reads the restricted ledgers of one county
        'edupa_auditor'        -- reads the ledger, published marts and pinned releases
    ] loop
        if not exists (select 1 from pg_roles where rolname = role_name) then
            execute format('create role %I %s', role_name,
                           case when role_name = 'edupa_sealed' then 'nologin' else 'login' end);
        end if;
    end loop;
end $$;

revoke all on schema public from public;
do $$ begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to edupa_ingest, edupa_transform, edupa_gatekeeper, '
                   'edupa_publisher, edupa_evaluator, edupa_bi, edupa_county, edupa_auditor', current_database());
    -- ingest stages vault entries, dbt's unit tests stage their rows, in temporary tables
    execute format('grant temporary on database %I to edupa_ingest, edupa_transform', current_database());
    -- dbt creates one schema per candidate run
    execute format('grant create on database %I to edupa_transform', current_database());
end $$;

create schema vault;
create schema landing;
create schema quarantine;
create schema ledger;
create schema reference;
create schema staging;
create schema core;
create schema indicators;
create schema releases;
create schema marts;

comment on schema vault is 'Who is behind a token: names and ID numbers. Written by ingest, read by nobody else.';
comment on schema landing is 'One table per feed: every version of every record, once, with the load that brought and the load that ended it.';
comment on schema quarantine is 'Every rejected row: file, line, column, rule, masked value.';
comment on schema ledger is 'What happened: files, loads, counts, gate results, releases.';
comment on schema reference is 'Seeds of the dbt project: codes, plan targets, indicator registry.';
comment on schema staging is 'dbt: landing rows as they are now known, renamed and typed.';
comment on schema core is 'dbt: dimensions, facts and bridges (Kimball).';
comment on schema indicators is 'dbt: numerators and denominators of every indicator at county grain, and their roll-ups.';
comment on schema releases is 'Frozen releases: one immutable, hashed partition per release.';
comment on schema marts is 'Permanent views that follow the published release.';

-- ingest owns what it fills
alter schema vault owner to edupa_ingest;
alter schema landing owner to edupa_ingest;
alter schema quarantine owner to edupa_ingest;
grant usage on schema ledger to edupa_ingest, edupa_transform, edupa_gatekeeper, edupa_publisher, edupa_auditor;

-- transform owns what dbt builds
alter schema reference owner to edupa_transform;
alter schema staging owner to edupa_transform;
alter schema core owner to edupa_transform;
alter schema indicators owner to edupa_transform;
grant usage on schema landing to edupa_transform, edupa_gatekeeper;
alter default privileges for role edupa_ingest in schema landing grant select on tables to edupa_transform, edupa_gatekeeper;
grant usage on schema quarantine to edupa_gatekeeper, edupa_auditor;
alter default privileges for role edupa_ingest in schema quarantine grant select on tables to edupa_gatekeeper, edupa_auditor;

-- the gate looks at reference, core and indicators beside the candidate; the publisher is let into candidates only,
-- by whoever makes them, so that it never sees person-level tables
grant usage on schema reference, core, indicators to edupa_gatekeeper;
alter default privileges for role edupa_transform grant select on tables to edupa_gatekeeper;
alter default privileges for role edupa_transform grant usage on schemas to edupa_gatekeeper;

-- publisher freezes into releases; what is frozen belongs to edupa_sealed
alter schema releases owner to edupa_sealed;
alter schema marts owner to edupa_sealed;
-- noinherit: the publisher acts as the owner only where it says so
alter role edupa_publisher noinherit;
grant edupa_sealed to edupa_publisher;
do $$ begin
    execute format('grant create on database %I to edupa_sealed', current_database());
end $$;
grant usage on schema releases to edupa_publisher, edupa_gatekeeper, edupa_auditor;
grant usage on schema marts to edupa_publisher, edupa_gatekeeper, edupa_evaluator, edupa_bi, edupa_auditor, edupa_transform;

-- a reader's forgotten session may not hold anything up
alter role edupa_evaluator set statement_timeout = '5min';
alter role edupa_evaluator set idle_in_transaction_session_timeout = '15min';
alter role edupa_bi set statement_timeout = '1min';
alter role edupa_bi set idle_in_transaction_session_timeout = '5min';
