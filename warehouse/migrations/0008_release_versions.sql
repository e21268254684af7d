-- Releases get versions, predecessors, embargo and withdrawal; what moved is published with them; news of them goes out.

-- an embargoed release is seen by this role alone until its time has come
do $$ begin
    if not exists (select 1 from pg_roles where rolname = 'edupa_prerelease') then
        create role edupa_prerelease login;
    end if;
    execute format('grant connect on database %I to edupa_prerelease', current_database());
end $$;
alter role edupa_prerelease set statement_timeout = '5min';
alter role edupa_prerelease set idle_in_transaction_session_timeout = '15min';

alter table ledger.release
    add column previous_release text references ledger.release,
    add column semantic_version text unique check (semantic_version ~ '^\d+\.\d+\.\d+$'),
    add column change_level     text check (change_level in ('first', 'major', 'minor', 'patch')),
    add column change_reasons   jsonb not null default '[]'::jsonb,
    add column registry_sha256  text,
    add column seed_sha256      jsonb not null default '{}'::jsonb,
    add column embargo_until    timestamptz,
    add column withdrawn_at     timestamptz,
    add column withdrawn_reason text,
    add constraint release_not_before_its_embargo_ends check (published_at >= embargo_until),
    add constraint release_withdrawal_explained check (
        (status = 'withdrawn') = (withdrawn_at is not null) and (withdrawn_at is null) = (withdrawn_reason is null));
comment on column ledger.release.previous_release is 'release that this one was compared with; null: nothing to compare with';
comment on column ledger.release.semantic_version is 'MAJOR.MINOR.PATCH over the whole series, whatever the evaluation year';
comment on column ledger.release.change_level is 'first; or major, minor, patch: as computed against previous_release, or higher where declared so';
comment on column ledger.release.change_reasons is 'why the level is what it is: [{level, zh, en}]';
comment on column ledger.release.registry_sha256 is 'hash of the indicator registry';
comment on column ledger.release.seed_sha256 is 'seed -> hash of its file';
comment on column ledger.release.embargo_until is 'not to be published before; null: at once';

-- releases frozen before versions were computed: numbered in the order in which they were made
with numbered as (
    select
        release_id,
        row_number() over (order by frozen_at, release_id) - 1 as minor,
        lag(release_id) over (order by frozen_at, release_id) as previous
    from ledger.release
)
update ledger.release as r
set semantic_version = '1.' || n.minor || '.0', previous_release = n.previous
from numbered as n
where r.release_id = n.release_id;

grant update (withdrawn_at, withdrawn_reason) on ledger.release to edupa_publisher;

alter table ledger.pointer_move drop constraint pointer_move_kind_check;
alter table ledger.pointer_move
    add constraint pointer_move_kind_check check (kind in ('publish', 'rollback', 'withdraw'));

create table ledger.release_notice (
    notice_id      bigint generated always as identity primary key,
    event          text not null check (event in ('publish', 'rollback', 'withdraw')),
    release_id     text not null references ledger.release,
    payload        jsonb not null,
    webhook_wanted boolean not null,
    created_at     timestamptz not null default clock_timestamp()
);
comment on table ledger.release_notice is 'grain: one row per publication, rollback or withdrawal, written in its transaction; what is sent out';
comment on column ledger.release_notice.webhook_wanted is 'whether a webhook was configured when it happened';

create table ledger.notice_attempt (
    attempt_id   bigint generated always as identity primary key,
    notice_id    bigint not null references ledger.release_notice,
    delivered    boolean not null,
    detail       text not null,
    attempted_at timestamptz not null default clock_timestamp()
);
comment on table ledger.notice_attempt is 'grain: one row per try to deliver a notice to the webhook';
grant select on ledger.release_notice, ledger.notice_attempt to edupa_publisher, edupa_auditor;
grant insert on ledger.release_notice, ledger.notice_attempt to edupa_publisher;

-- frozen releases that are not published belong to nobody's eyes: an auditor reads them pinned, once published
do $$
declare thing record;
begin
    for thing in
        select c.oid::regclass as relation from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'releases' and c.relkind in ('r', 'p') and c.relname <> 'pointer'
    loop
        execute format('revoke select on %s from edupa_auditor', thing.relation);
    end loop;
    for thing in
        select n.nspname as schema_name from pg_namespace n
        join ledger.release r on n.nspname = 'release_' || replace(r.release_id, '.', '_')
        where r.status = 'published'
    loop
        execute format('grant usage on schema %I to edupa_prerelease', thing.schema_name);
        execute format('grant select on all tables in schema %I to edupa_prerelease', thing.schema_name);
    end loop;
end $$;

set role edupa_sealed;

-- sections of other steps (waivers, approval, protection) are named here too, so that each may write its own
alter table releases.release_notes drop constraint release_notes_section_check;
alter table releases.release_notes add constraint release_notes_section_check check (section in (
    'scope', 'reason', 'version', 'restatement', 'embargo', 'gate', 'waiver', 'approval', 'change', 'assumption',
    'protection'));
comment on column releases.release_notes.section is
    '类别 — scope, reason, version, restatement, embargo, gate, waiver, approval, change, assumption, protection';

create table releases.release_change (
    release_id      text not null,
    mart            text not null,
    row_key         text not null,
    indicator_code  text,
    variant         text,
    area_code       text,
    evaluation_year integer,
    subgroup        text,
    basis           text,
    change          text not null check (change in ('added', 'changed', 'gone', 'hidden')),
    old_value       numeric(38, 4),
    new_value       numeric(38, 4),
    old_numerator   numeric(38, 0),
    new_numerator   numeric(38, 0),
    old_denominator numeric(38, 0),
    new_denominator numeric(38, 0),
    old_verdict     text,
    new_verdict     text,
    old_conf_status text,
    new_conf_status text,
    cause           text not null,
    primary key (release_id, mart, row_key),
    -- a cell that either release hides tells nothing but that
    constraint hidden_tells_nothing check (
        (coalesce(old_conf_status, 'F') = 'F' and coalesce(new_conf_status, 'F') = 'F')
        or (change = 'hidden' and coalesce(old_value, new_value, old_numerator, new_numerator, old_denominator,
                                           new_denominator) is null and coalesce(old_verdict, new_verdict) is null))
) partition by list (release_id);
comment on table releases.release_change is '变动单元 — cells that moved against the previous release; grain: release × mart × row of the mart';
comment on column releases.release_change.release_id is '版本号 — release';
comment on column releases.release_change.mart is '数据集 — published table';
comment on column releases.release_change.row_key is '行键 — key of the row in its table, parts joined by |';
comment on column releases.release_change.indicator_code is '指标代码 — code of the indicator';
comment on column releases.release_change.variant is '指标变体 — variant of the definition';
comment on column releases.release_change.area_code is '区划代码 — area or group';
comment on column releases.release_change.evaluation_year is '评价年度 — evaluation year';
comment on column releases.release_change.subgroup is '分组 — subgroup';
comment on column releases.release_change.basis is '人口口径 — population basis';
comment on column releases.release_change.change is '变动 — added, changed, gone; hidden: either release hides it, nothing else is told';
comment on column releases.release_change.old_value is '原值 — value before (in the unit of the indicator)';
comment on column releases.release_change.new_value is '新值 — value now (in the unit of the indicator)';
comment on column releases.release_change.old_numerator is '原分子 — numerator before';
comment on column releases.release_change.new_numerator is '新分子 — numerator now';
comment on column releases.release_change.old_denominator is '原分母 — denominator before';
comment on column releases.release_change.new_denominator is '新分母 — denominator now';
comment on column releases.release_change.old_verdict is '原结论 — verdict before';
comment on column releases.release_change.new_verdict is '新结论 — verdict now';
comment on column releases.release_change.old_conf_status is '原保密状态 — protection before';
comment on column releases.release_change.new_conf_status is '新保密状态 — protection now';
comment on column releases.release_change.cause is '原因 — new_year, method_version, input: feeds, registry, seeds: files, contracts, code, unexplained';
grant select on releases.release_change to edupa_publisher;

create view marts.release_change as
select
    release_id, mart, row_key, indicator_code, variant, area_code, evaluation_year, subgroup, basis, change,
    old_value, new_value, old_numerator, new_numerator, old_denominator, new_denominator, old_verdict, new_verdict,
    old_conf_status, new_conf_status, cause
from releases.release_change
where release_id = (select p.release_id from releases.pointer as p);
comment on view marts.release_change is '变动单元 — cells that moved against the previous release; grain: mart × row of the mart';

create or replace view marts.release_registry as
select
    r.release_id, r.evaluation_year, r.kind, r.status, r.content_sha256, r.reason, r.git_commit,
    g.decision as gate_decision, r.frozen_at, r.published_at,
    r.release_id = (select p.release_id from releases.pointer as p) as is_current,
    jsonb_array_length(r.waivers) as waiver_count, r.approved_by,
    r.semantic_version, r.change_level, r.change_reasons, r.previous_release,
    (
        select n.release_id from ledger.release as n
        where
            n.evaluation_year = r.evaluation_year and n.status = 'published'
            and (split_part(n.release_id, '.', 2)::integer, split_part(n.release_id, '.', 3)::integer)
            > (split_part(r.release_id, '.', 2)::integer, split_part(r.release_id, '.', 3)::integer)
        order by split_part(n.release_id, '.', 2)::integer desc, split_part(n.release_id, '.', 3)::integer desc
        limit 1
    ) as superseded_by,
    r.embargo_until, r.withdrawn_at, r.withdrawn_reason, r.contracts_sha256, r.seeds_sha256, r.registry_sha256,
    r.seed_sha256, r.input_sha256, r.table_sha256
from ledger.release as r
join ledger.gate_run as g using (gate_run_id)
where r.published_at is not null;
comment on view marts.release_registry is '版本登记 — every release ever published, also the withdrawn; grain: release';
comment on column marts.release_registry.superseded_by is '已被取代 — newest published release of the same evaluation year, if newer';

grant select on marts.release_change to edupa_evaluator, edupa_bi, edupa_auditor, edupa_publisher;
grant usage on schema marts to edupa_prerelease;
grant select on all tables in schema marts to edupa_prerelease;

reset role;
