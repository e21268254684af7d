-- What the gates said of every county, feed and period; what senders announced, beside what became of it.

create table ledger.gate_verdict (
    gate_run_id  bigint not null references ledger.gate_run,
    suite        text not null,
    county_code  text not null,
    period       text not null,
    verdict      text not null check (verdict in ('pass', 'warn', 'block')),
    rules        integer not null check (rules > 0),
    failed       text[] not null,
    primary key (gate_run_id, suite, county_code, period),
    constraint gate_verdict_explained check ((verdict = 'pass') = (failed = '{}'))
);
comment on table ledger.gate_verdict is 'grain: one row per gate run × suite (feed or mart) × county × period looked at, also those that passed';
comment on column ledger.gate_verdict.county_code is 'county or area; * where the suite is about a table as a whole';
comment on column ledger.gate_verdict.verdict is 'fit (pass), fit with warnings (warn) or not fit (block), by the policy for plan and other counties';
comment on column ledger.gate_verdict.rules is 'rules asked of it';
comment on column ledger.gate_verdict.failed is 'ids of the rules that failed there';
grant select on ledger.gate_verdict
    to edupa_transform, edupa_gatekeeper, edupa_publisher, edupa_auditor, edupa_ingest, edupa_steward, edupa_approver;
grant insert on ledger.gate_verdict to edupa_gatekeeper;

create table ledger.control_total (
    load_id      bigint not null references ledger.load,
    column_name  text not null,
    declared     numeric not null,
    passed       numeric,
    scope_keys   text[] not null,
    primary key (load_id, column_name)
);
comment on table ledger.control_total is 'grain: one row per accepted file × number that its sender announced in a manifest';
comment on column ledger.control_total.column_name is 'canonical name of the column summed; * for the number of rows';
comment on column ledger.control_total.declared is 'what the manifest says of all data rows of the file';
comment on column ledger.control_total.passed is 'the same over the rows that were not quarantined or repeated; null: the column is not landed as a number';
comment on column ledger.control_total.scope_keys is 'scopes (landing.*.scope_key) whose current rows this file states in full; empty: it adds to what was sent before';
grant select on ledger.control_total
    to edupa_transform, edupa_gatekeeper, edupa_publisher, edupa_auditor, edupa_ingest;
grant insert on ledger.control_total to edupa_ingest;

-- a gate computes what it judges once, into tables that end with its transaction
do $$ begin
    execute format('grant temporary on database %I to edupa_gatekeeper', current_database());
end $$;
