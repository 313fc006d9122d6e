-- An owner that another table names, rendered from a stream's declaration: whose a row is, which rows refer to it, and triggers
-- that tell when it changes hands.
-- The functions are stable, so that they see what the statement of the sequencer sees that calls them. Where row-level security
-- would hide rows from it they fail, which is a reset, and do not miss rows in silence.

create or replace function rowcast.owner_{shape}_{feed}(p_reference text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp set row_security = off as $owner$
begin
    return (select o.{owner}::text from {table} o where o.{table_key} = p_reference::{table_key_type});
end $owner$;

create or replace function rowcast.dependents_{shape}_{feed}(p_reference text) returns table (key text, views text[])
language plpgsql stable set search_path = pg_catalog, pg_temp set row_security = off{settings} as $dependents$
begin
    -- As in the trigger: a column that has become another type is not read.
    if (select {stale} from {relation} r where r.{column} = p_reference::{column_type} limit 1) then
        raise exception 'a published column has changed its type: run `rowcast migrate`';
    end if;
    return query select {key}, array[{views}] from {relation} r where r.{column} = p_reference::{column_type};
end $dependents$;

insert into rowcast.via (shape, feed, broadcast, broadcasts) values ({shape}, {feed}, {broadcast}, array[{broadcasts}]) on conflict do nothing;

create or replace function rowcast.moved_{shape}_{feed}() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $moved$
declare
    v_id    bigint;
    v_key   text;
    v_old   text;
    v_new   text;
    v_op    "char" := 'M';
    v_fault text;
begin
    begin
        if TG_OP = 'TRUNCATE' then
            v_op := 'T';
        else
            v_key := old.{table_key}::text;
            v_old := {broadcast} || '-' || old.{owner}::text;
            v_fault := 'gone';
            if TG_OP = 'UPDATE' then
                if new.{table_key} = old.{table_key} then
                    v_new := {broadcast} || '-' || new.{owner}::text;
                    v_fault := null;
                end if;
            end if;
        end if;
    exception when others or assert_failure then
        v_op := 'F';
        v_fault := left(sqlerrm, 500);
    end;
    v_id := nextval('rowcast.outbox_id');
    if (v_id >> {lane_bits}) & 1 = 0 then
        insert into rowcast.outbox_0 values (v_id, pg_current_xact_id(), {shape}, v_op, v_key, null, null, null,
            case when v_op = 'M' then array_fill(v_new, array[{feed}]) else array[{broadcasts}] end,
            case when v_op = 'M' then array_fill(v_old, array[{feed}]) end, v_fault, 0, clock_timestamp());
    else
        insert into rowcast.outbox_1 values (v_id, pg_current_xact_id(), {shape}, v_op, v_key, null, null, null,
            case when v_op = 'M' then array_fill(v_new, array[{feed}]) else array[{broadcasts}] end,
            case when v_op = 'M' then array_fill(v_old, array[{feed}]) end, v_fault, 0, clock_timestamp());
    end if;
    {ring}
    return null;
end $moved$;

-- The first of the AFTER triggers: they may change the row again.
create or replace trigger "00_rowcast_moved_{shape}_{feed}" after update on {table}
    for each row when (old.{owner} is distinct from new.{owner} or old.{table_key} is distinct from new.{table_key})
    execute function rowcast.moved_{shape}_{feed}();
create or replace trigger "00_rowcast_gone_{shape}_{feed}" after delete on {table} for each row execute function rowcast.moved_{shape}_{feed}();
create or replace trigger "00_rowcast_emptied_{shape}_{feed}" after truncate on {table} for each statement execute function rowcast.moved_{shape}_{feed}();
alter table {table} enable always trigger "00_rowcast_moved_{shape}_{feed}";
alter table {table} enable always trigger "00_rowcast_gone_{shape}_{feed}";
alter table {table} enable always trigger "00_rowcast_emptied_{shape}_{feed}";
