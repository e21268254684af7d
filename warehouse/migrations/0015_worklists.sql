-- Worklists: lists of cases that a county takes away, written while logged in as that county; who took what stays here.
-- Privileges stand in warehouse/roles.yaml.

create table ledger.worklist (
    worklist_id  bigint generated always as identity primary key,
    taken_at     timestamptz not null default clock_timestamp(),
    login        text not null default session_user,
    county_code  text not null check (county_code ~ '^\d{6}$'),
    kind         text not null check (kind in ('missed-aid', 'wrong-aid', 'dropouts', 'unmatched', 'integrity')),
    with_names   boolean not null,
    row_count    bigint not null check (row_count >= 0),
    file_sha256  text not null check (file_sha256 ~ '^[0-9a-f]{64}$')
);
create index worklist_county on ledger.worklist (county_code, taken_at);
comment on table ledger.worklist is 'grain: one row per worklist taken away; written before the file is handed out';
comment on column ledger.worklist.login is 'login of the database that read the rows, as the server knows it';
comment on column ledger.worklist.with_names is 'whether names and ID numbers stood in the file';
comment on column ledger.worklist.row_count is 'cases in the file';
comment on column ledger.worklist.file_sha256 is 'content of the file as it was handed out: tells which one a file is that turns up elsewhere';

set role edupa_custodian;

-- who and when is said by the server; a county takes its own cases only
create function access.guard_worklist() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare today constant date := (clock_timestamp() at time zone 'Asia/Shanghai')::date;
begin
    new.login := session_user;
    new.taken_at := clock_timestamp();
    if not exists (
        select from access.county_login l
        where l.login = session_user and l.county_code = new.county_code
          and l.valid_from <= today and (l.valid_to is null or today < l.valid_to)
    ) then
        raise exception 'login % does not belong to county % today', session_user, new.county_code
            using errcode = 'insufficient_privilege', hint = 'edupa access list';
    end if;
    return new;
end $$;
comment on function access.guard_worklist() is 'trigger of ledger.worklist: fills in who and when, refuses another county';

reset role;

create trigger own_county before insert on ledger.worklist for each row execute function access.guard_worklist();
create trigger kept before update or delete on ledger.worklist for each row execute function ledger.refuse_change();
create trigger kept_whole before truncate on ledger.worklist for each statement execute function ledger.refuse_change();

-- a trigger fires for everybody; nobody calls it
set role edupa_custodian;
revoke all on function access.guard_worklist() from public;
reset role;
