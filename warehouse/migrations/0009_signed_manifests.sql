-- Every release carries a signed manifest; the private key never comes near the database.

create table ledger.signing_key (
    key_id      text primary key check (key_id ~ '^[0-9a-f]{16}$'),
    public_key  text not null,
    created_at  timestamptz not null default clock_timestamp(),
    retired_at  timestamptz
);
comment on table ledger.signing_key is 'grain: one row per key that ever signed a manifest; key_id = first 16 hex digits of the SHA-256 of the public key; retired keys stay, old manifests need them';
comment on column ledger.signing_key.public_key is 'Ed25519 public key, PEM';
grant select on ledger.signing_key to edupa_publisher, edupa_auditor;
grant insert, update (retired_at) on ledger.signing_key to edupa_publisher;

alter table ledger.release
    add column as_of_load_id bigint,
    add column manifest jsonb,
    add column manifest_signature text,
    add column signing_key_id text references ledger.signing_key;
comment on column ledger.release.as_of_load_id is 'last load that was known when the marts were built: landing as of this load gives the same release again';
comment on column ledger.release.manifest is 'what was frozen: hashes of tables and row ranges, columns, provenance, and the hash of the manifest before it';
comment on column ledger.release.manifest_signature is 'Ed25519 over the canonical json of the manifest, base64';
comment on column ledger.release.signing_key_id is 'key that signed';
grant update (manifest, manifest_signature, signing_key_id) on ledger.release to edupa_publisher;

-- housekeeping leaves its mark like every other run
alter table ledger.run drop constraint run_kind_check;
alter table ledger.run add constraint run_kind_check
    check (kind in ('nightly_load', 'annual_evaluation', 'housekeeping'));
