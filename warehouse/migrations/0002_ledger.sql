-- The ledger: what arrived, what became of every row, what the gates said, what was published.

create table ledger.file (
    file_id          bigint generated always as identity primary key,
    file_sha256      text not null check (file_sha256 ~ '^[0-9a-f]{64}$'),
    feed             text,                                   -- null: no contract recognizes the name
    file_name        text not null,                          -- path relative to the extract root
    file_bytes       bigint not null check (file_bytes >= 0),
    first_seen_at    timestamptz not null default clock_timestamp()
);
create unique index file_identity on ledger.file (file_sha256, coalesce(feed, ''));
comment on table ledger.file is 'grain: one row per distinct content ever offered for a feed; key file_sha256 + feed';
comment on column ledger.file.file_name is 'name under which the content was first seen';

create table ledger.load (
    load_id              bigint generated always as identity primary key,
    file_id              bigint not null references ledger.file,
    feed                 text,
    file_name            text not null,
    contract_version     text,
    contract_sha256      text,
    status               text not null check (status in ('landed', 'unchanged', 'rejected', 'unrecognized')),
    rows_in              bigint not null default 0 check (rows_in >= 0),
    rows_landed          bigint not null default 0 check (rows_landed >= 0),
    rows_unchanged       bigint not null default 0 check (rows_unchanged >= 0),
    rows_quarantined     bigint not null default 0 check (rows_quarantined >= 0),
    rows_exact_duplicate bigint not null default 0 check (rows_exact_duplicate >= 0),
    rows_ended           bigint not null default 0 check (rows_ended >= 0),
    rows_skipped         bigint not null default 0 check (rows_skipped >= 0),
    encoding             text,
    sheet                text,
    scope_values         jsonb not null default '[]'::jsonb,
    normalizations       jsonb not null default '{}'::jsonb,
    rejection            jsonb,
    extract_date         date,
    started_at           timestamptz not null default clock_timestamp(),
    finished_at          timestamptz not null default clock_timestamp(),
    constraint load_row_identity check (
        rows_in = rows_landed + rows_unchanged + rows_quarantined + rows_exact_duplicate),
    constraint load_rejection_explained check ((status = 'rejected') = (rejection is not null)),
    constraint load_rejected_lands_nothing check (status in ('landed', 'unchanged') or rows_in = 0)
);
create index load_feed on ledger.load (feed, load_id);
comment on table ledger.load is 'grain: one row per file taken in, whatever became of it; key load_id, growing in commit order (one writer at a time)';
comment on column ledger.load.rows_in is 'data rows of the file; title, header, unit, blank, subtotal and footer rows are counted in rows_skipped';
comment on column ledger.load.rows_unchanged is 'rows equal to the version already known';
comment on column ledger.load.rows_ended is 'earlier versions closed by this load because they changed or are gone from a full extract';
comment on column ledger.load.scope_values is 'scopes (e.g. school year × county) that the file speaks for, as a list of objects';
comment on column ledger.load.normalizations is 'how often each normalizer changed a value: {"column.normalizer": count}';
comment on column ledger.load.rejection is 'why a file was rejected whole: {rule, sheet, line, column, message_en, message_zh, what_to_do}';

create table ledger.seen (
    seen_id      bigint generated always as identity primary key,
    file_id      bigint not null references ledger.file,
    file_name    text not null,
    seen_at      timestamptz not null default clock_timestamp(),
    outcome      text not null check (outcome in ('loaded', 'same_content')),
    unique (file_id, file_name)
);
comment on table ledger.seen is 'grain: one row per content × name; a second name for known content is a no-op worth a warning';

create table ledger.run (
    run_id       text primary key,
    kind         text not null check (kind in ('nightly_load', 'annual_evaluation')),
    parameters   jsonb not null,
    status       text not null check (status in ('running', 'succeeded', 'blocked', 'failed')),
    started_at   timestamptz not null default clock_timestamp(),
    finished_at  timestamptz
);
comment on table ledger.run is 'grain: one row per run of a DAG';

create table ledger.gate_run (
    gate_run_id  bigint generated always as identity primary key,
    boundary     text not null check (boundary in ('arrival', 'candidate')),
    run_id       text not null,
    evaluation_year integer not null,
    subject      text not null,                 -- schema looked at
    subject_hash text,                          -- content hash of what was judged
    decision     text not null check (decision in ('pass', 'warn', 'block')),
    page         text,                          -- path of the rendered page, relative to the run folder
    started_at   timestamptz not null default clock_timestamp(),
    finished_at  timestamptz not null default clock_timestamp()
);
comment on table ledger.gate_run is 'grain: one row per time a gate was asked; the absence of a row means: not passed';

create table ledger.gate_result (
    gate_run_id  bigint not null references ledger.gate_run,
    suite        text not null,
    expectation_id text not null,
    severity     text not null check (severity in ('block', 'warn')),
    success      boolean not null,
    county_code  text not null default '*',
    period       text not null default '*',
    observed     text,                          -- counts and figures only, never a value of a person
    primary key (gate_run_id, suite, expectation_id, county_code, period)
);
comment on table ledger.gate_result is 'grain: one row per gate run × expectation × county × period';

create table ledger.release (
    release_id       text primary key check (release_id ~ '^\d{4}\.\d+\.\d+$'),
    evaluation_year  integer not null,
    kind             text not null check (kind in ('annual', 'restatement')),
    status           text not null check (status in ('frozen', 'published', 'withdrawn')),
    content_sha256   text not null,
    table_sha256     jsonb not null,            -- mart -> {sha256, rows}
    input_sha256     jsonb not null,            -- feed -> hash over the file hashes in use
    git_commit       text,
    contracts_sha256 text,
    seeds_sha256     text,
    gate_run_id      bigint not null references ledger.gate_run,
    reason           text not null,
    frozen_at        timestamptz not null default clock_timestamp(),
    published_at     timestamptz
);
comment on table ledger.release is 'grain: one row per release; never deleted';

create table ledger.pointer_move (
    move_id      bigint generated always as identity primary key,
    from_release text references ledger.release,
    to_release   text not null references ledger.release,
    kind         text not null check (kind in ('publish', 'rollback')),
    moved_at     timestamptz not null default clock_timestamp(),
    moved_by     text not null default session_user
);
comment on table ledger.pointer_move is 'grain: one row per time the published release changed';

grant select, insert on ledger.file, ledger.load, ledger.seen to edupa_ingest;
grant select on ledger.file, ledger.load, ledger.seen, ledger.run, ledger.gate_run, ledger.gate_result,
    ledger.release, ledger.pointer_move
    to edupa_transform, edupa_gatekeeper, edupa_publisher, edupa_auditor, edupa_ingest;
grant insert on ledger.gate_run, ledger.gate_result to edupa_gatekeeper;
grant insert, update on ledger.run to edupa_ingest, edupa_transform, edupa_publisher;
grant insert on ledger.release, ledger.pointer_move to edupa_publisher;
grant update (status, published_at) on ledger.release to edupa_publisher;
