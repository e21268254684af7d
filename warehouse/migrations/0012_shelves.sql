-- Shelves: what the permanent views read is one plain table per mart, with the rows of every release.
--
-- As list partitions, one per release, every query had to plan and lock all partitions ever attached (0.2 s at 200
-- releases), and a plan made just before a partition was attached found no row of a release published just after it.
-- The frozen tables stay as they are and stand alone: they are what is sealed, verified and cited.

set role edupa_sealed;

create function releases.refuse_late_rows() returns trigger language plpgsql as $$
declare late text;
begin
    select min(arrived.release_id) into late
    from arrived where exists (select from ledger.release as r where r.release_id = arrived.release_id);
    if late is not null then
        raise exception 'release % is frozen: INSERT into %.% refused', late, tg_table_schema, tg_table_name
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'publish a restatement instead';
    end if;
    return null;
end $$;
comment on function releases.refuse_late_rows() is 'trigger of a shelf: rows of a release come before it is registered, or never';

create function releases.guard_shelf(shelf text) returns void language plpgsql as $$
begin
    execute format(
        'create trigger frozen_rows before update or delete on releases.%1$I for each row
             execute function releases.refuse_change();
         create trigger frozen_table before truncate on releases.%1$I for each statement
             execute function releases.refuse_change();
         create trigger late_rows after insert on releases.%1$I referencing new table as arrived for each statement
             execute function releases.refuse_late_rows()', shelf);
end $$;
comment on function releases.guard_shelf(text) is 'gives a new shelf the triggers that refuse change';

revoke all on function releases.refuse_late_rows() from public;
revoke all on function releases.guard_shelf(text) from public;

do $$
declare
    parent record;
    part record;
    reader record;
    columns text;
begin
    for parent in
        select c.oid, c.relname, obj_description(c.oid, 'pg_class') as comment,
            (select string_agg(quote_ident(a.attname), ', ' order by k.position)
             from pg_constraint as p
             cross join lateral unnest(p.conkey) with ordinality as k (attnum, position)
             join pg_attribute as a on a.attrelid = p.conrelid and a.attnum = k.attnum
             where p.conrelid = c.oid and p.contype = 'p') as key
        from pg_class as c
        where c.relnamespace = 'releases'::regnamespace and c.relkind = 'p'
    loop
        execute format('alter table releases.%I rename to %I', parent.relname, parent.relname || '__parts');
        execute format(
            'create table releases.%I (like releases.%I including comments including constraints including defaults)',
            parent.relname, parent.relname || '__parts');
        execute format('alter table releases.%I add primary key (%s)', parent.relname, parent.key);
        execute format('comment on table releases.%I is %L', parent.relname, parent.comment);
        execute format('grant select on releases.%I to edupa_publisher, edupa_gatekeeper', parent.relname);
        execute format('insert into releases.%I select * from releases.%I', parent.relname, parent.relname || '__parts');
        perform releases.guard_shelf(parent.relname);
        for reader in
            select distinct v.oid, n.nspname, v.relname
            from pg_depend as d
            join pg_rewrite as r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
            join pg_class as v on v.oid = r.ev_class
            join pg_namespace as n on n.oid = v.relnamespace
            where d.refobjid = parent.oid and d.refclassid = 'pg_class'::regclass
        loop
            if reader.nspname like 'release\_%' then
                select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
                from pg_attribute as a where a.attrelid = reader.oid and a.attnum > 0;
                execute format('create or replace view %I.%I as select %s from releases.%I', reader.nspname,
                    reader.relname, columns, parent.relname || '__' || substr(reader.nspname, 9));
            else
                execute format('create or replace view %I.%I as %s', reader.nspname, reader.relname,
                    replace(pg_get_viewdef(reader.oid), parent.relname || '__parts', parent.relname));
            end if;
        end loop;
        for part in select i.inhrelid::regclass as name from pg_inherits as i where i.inhparent = parent.oid
        loop
            execute format('alter table releases.%I detach partition %s', parent.relname || '__parts', part.name);
        end loop;
        execute format('drop table releases.%I', parent.relname || '__parts');
    end loop;
end $$;

comment on schema releases is 'Frozen releases: one immutable, hashed table per mart and release; shelves for the permanent views.';

reset role;
