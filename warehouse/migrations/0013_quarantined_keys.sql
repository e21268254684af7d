-- What became of a quarantined row can be told from its key: put right, left out, or wrong again.

set role edupa_ingest;

alter table quarantine.rejected_row add column scope_key text, add column record_key text;
comment on column quarantine.rejected_row.scope_key is 'scope of the row as in landing; null where it cannot be read from the row, and in entries made before this column was';
comment on column quarantine.rejected_row.record_key is 'key of the record as in landing (hash of codes and tokens); null likewise';

alter table quarantine.cleared_row drop constraint cleared_row_outcome_check;
alter table quarantine.cleared_row add constraint cleared_row_outcome_check
    check (outcome in ('passed', 'corrected', 'withdrawn', 'replaced', 'rejected_again'));
comment on column quarantine.cleared_row.outcome is 'passed: the same file was read again and the row no longer breaks the rule; corrected: the record of the row''s key is in force now; withdrawn: no row of that key came again; replaced: a newer file no longer holds the row as it was, and the row''s key could not be read; rejected_again: the row, or another of its key, is rejected again, under a new entry';

drop view quarantine.entry;
create view quarantine.entry as
    select r.*, c.cleared_by_load_id, c.outcome, c.cleared_at, c.rejected_row_id is null as is_open
    from quarantine.rejected_row r left join quarantine.cleared_row c using (rejected_row_id);
comment on view quarantine.entry is 'grain: one row per quarantine entry, with what became of it';

reset role;
