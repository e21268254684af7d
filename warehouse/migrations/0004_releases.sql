-- Releases: one pointer row decides what the permanent views show; frozen partitions refuse every change.

grant select on ledger.file, ledger.load, ledger.release, ledger.gate_run to edupa_sealed;
grant usage on schema ledger to edupa_sealed;

set role edupa_sealed;

create table releases.pointer (
    is_current  boolean primary key default true check (is_current),
    release_id  text not null
);
comment on table releases.pointer is 'grain: one row, the release that marts.* show; moving it is how a release is published or rolled back';
grant select on releases.pointer to edupa_publisher, edupa_gatekeeper, edupa_auditor;
grant insert, update on releases.pointer to edupa_publisher;

create function releases.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'release table %.% is frozen: % refused', tg_table_schema, tg_table_name, tg_op
        using errcode = 'object_not_in_prerequisite_state',
              hint = 'publish a restatement instead';
end $$;

create table releases.release_notes (
    release_id  text not null,
    note_number integer not null,
    section     text not null check (section in ('scope', 'reason', 'gate', 'change', 'assumption', 'protection')),
    text_zh     text not null,
    text_en     text not null,
    primary key (release_id, note_number)
) partition by list (release_id);
comment on table releases.release_notes is '发布说明 — what a reader must know of a release; grain: release × note';
comment on column releases.release_notes.release_id is '版本号 — release';
comment on column releases.release_notes.note_number is '序号 — order of the notes';
comment on column releases.release_notes.section is '类别 — scope, reason, gate, change, assumption, protection';
comment on column releases.release_notes.text_zh is '说明 — text in Chinese';
comment on column releases.release_notes.text_en is '说明（英文） — text in English';
grant select on releases.release_notes to edupa_publisher, edupa_auditor;

revoke all on function releases.refuse_change() from public;

create view marts.release_notes as
select release_id, note_number, section, text_zh, text_en
from releases.release_notes
where release_id = (select p.release_id from releases.pointer as p);
comment on view marts.release_notes is '发布说明 — notes of the published release; grain: note';

create view marts.release_registry as
select
    r.release_id, r.evaluation_year, r.kind, r.status, r.content_sha256, r.reason, r.git_commit,
    g.decision as gate_decision, r.frozen_at, r.published_at,
    r.release_id = (select p.release_id from releases.pointer as p) as is_current
from ledger.release as r
join ledger.gate_run as g using (gate_run_id)
where r.status <> 'frozen';
comment on view marts.release_registry is '版本登记 — every release ever published; grain: release';

create view marts.source_file as
select
    l.load_id, f.file_sha256, l.feed, f.file_name, f.file_bytes, l.extract_date, l.contract_version, l.rows_in,
    l.rows_landed, l.rows_unchanged, l.rows_quarantined, l.rows_exact_duplicate, l.finished_at as loaded_at
from ledger.load as l
join ledger.file as f using (file_id)
where l.status in ('landed', 'unchanged');
comment on view marts.source_file is '来源文件 — files behind the published figures; grain: file taken in';

grant select on marts.release_notes, marts.release_registry, marts.source_file
    to edupa_evaluator, edupa_bi, edupa_auditor, edupa_publisher;

reset role;
