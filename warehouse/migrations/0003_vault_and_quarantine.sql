-- Vault: direct identifiers, and nothing but ingest may read or write them.
-- Quarantine: rejected rows, with masked values only; the raw row stays in the county's file.

set role edupa_ingest;

create table vault.token_key (
    key_id      text primary key,
    canary      text not null,
    created_at  timestamptz not null default clock_timestamp()
);
comment on table vault.token_key is 'grain: one row per HMAC key ever used; canary = token of a fixed text, so that a wrong key is refused';

create table vault.person_identity (
    person_token  text not null,
    key_id        text not null,              -- of vault.token_key; the canary check vouches for it, once a load
    identifier_kind text not null,
    identifier    text not null,
    person_name   text,
    token_basis   text not null check (token_basis in ('id_number', 'surrogate')),
    first_load_id bigint not null,
    primary key (person_token, identifier_kind, identifier)
);
comment on table vault.person_identity is 'grain: one row per token × identifier as first delivered; the only place with names and ID numbers';

create table quarantine.rejected_row (
    rejected_row_id bigint generated always as identity primary key,
    load_id        bigint not null,
    feed           text not null,
    file_name      text not null,
    sheet          text,
    line_number    bigint not null,             -- physical line (csv) or row (sheet), counted from 1
    column_name    text not null,               -- canonical column; '*' where the row as a whole is at fault
    column_header  text,
    rule           text not null,
    masked_value   text,
    message_en     text not null,
    message_zh     text not null,
    row_sha256     text not null,
    quarantined_at timestamptz not null default clock_timestamp()
);
create index rejected_row_load on quarantine.rejected_row (load_id);
comment on table quarantine.rejected_row is 'grain: one row per rejected row × rule broken; rows_quarantined of the load counts distinct line_number per sheet';

reset role;

revoke all on all tables in schema vault from public;
