-- Disclosure: what the plan of protection decided for each sensitive cell of a candidate, and the policy that a release kept.

create schema disclosure;
comment on schema disclosure is 'What may be shown of each sensitive cell, decided before the marts are built; no counts.';
alter schema disclosure owner to edupa_transform;
grant usage on schema disclosure to edupa_gatekeeper;

set role edupa_transform;

create table disclosure.decision (
    release_year    integer not null,           -- evaluation year of the candidate
    indicator_code  text not null,
    variant         text not null,
    area_code       text not null,
    evaluation_year integer not null,
    subgroup        text not null,
    basis           text not null,
    conf_status     text not null check (conf_status in ('F', 'A', 'D')),
    value_bound     text check (value_bound ~ '^(>=|<=)[0-9]+$'),
    primary key (release_year, indicator_code, variant, area_code, evaluation_year, subgroup, basis),
    check (conf_status <> 'F' or value_bound is null)
);
comment on table disclosure.decision is 'grain: one row per candidate × cell of a sensitive indicator; a sensitive cell without a row is withheld';
comment on column disclosure.decision.conf_status is 'F shown, A withheld because one of its counts is small, D withheld (the mark claims nothing of its counts)';
comment on column disclosure.decision.value_bound is 'bound in percent that may be shown instead of the rate of a small group';

create table disclosure.rounded (
    mart      text not null,
    cell      text not null,
    part      text not null,
    persons   bigint not null check (persons >= 0),
    primary key (mart, cell, part)
);
comment on table disclosure.rounded is 'grain: one row per mart × smallest cell × part of a mart that is protected by rounding: the rounded count, the only one that a mart may add up';

create table disclosure.rounding_key (
    key_id     text primary key,
    canary     text not null,
    created_at timestamptz not null default clock_timestamp()
);
comment on table disclosure.rounding_key is 'grain: one row per rounding key ever used; canary = threshold of a fixed cell, so that another key, which would round the same count differently, is refused';

reset role;

alter table ledger.release add column policy_sha256 text;
alter table ledger.release add column policy jsonb;
comment on column ledger.release.policy_sha256 is 'hash over the disclosure policy that protected the release';
comment on column ledger.release.policy is 'the disclosure policy itself: thresholds, widths, bounds, structure, weights, methods';
