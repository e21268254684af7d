-- The trail of the quarantine: entries are never deleted; what became of each is written beside it.

set role edupa_ingest;

create table quarantine.cleared_row (
    rejected_row_id    bigint primary key references quarantine.rejected_row,
    cleared_by_load_id bigint not null,          -- of ledger.load, written in the same transaction
    outcome            text not null check (outcome in ('passed', 'replaced', 'rejected_again')),
    cleared_at         timestamptz not null default clock_timestamp()
);
create index cleared_row_load on quarantine.cleared_row (cleared_by_load_id);
comment on table quarantine.cleared_row is 'grain: one row per quarantine entry that a later load settled; an entry without one is open';
comment on column quarantine.cleared_row.cleared_by_load_id is 'later load of the same delivery (feed and what the file name says of period and county)';
comment on column quarantine.cleared_row.outcome is 'passed: the same file was read again and the row no longer breaks the rule; replaced: a newer file no longer holds the row as it was; rejected_again: the same row breaks the same rule again, under a new entry';

create view quarantine.entry as
    select r.*, c.cleared_by_load_id, c.outcome, c.cleared_at, c.rejected_row_id is null as is_open
    from quarantine.rejected_row r left join quarantine.cleared_row c using (rejected_row_id);
comment on view quarantine.entry is 'grain: one row per quarantine entry, with what became of it';

create index rejected_row_feed on quarantine.rejected_row (feed, load_id);

reset role;
