-- An owner that another table names, rendered from a stream's declaration: whose a row is, which rows refer to it, and triggers
-- that tell when it changes hands.
-- The functions are stable, so that they see what the statement of the sequencer sees that calls them. Where row-level security
-- would hide rows from it they fail, which is a reset, and do not miss rows in silence.

create or replace function rowcast.owner_{shape}_{feed}(p_references text[]) returns table (reference text, owner text)
language plpgsql stable set search_path = pg_catalog, pg_temp set row_security = off as $owner$
begin
    return query select r.reference, case when octet_length(o.{owner}::text) <= {owner_bytes} then o.{owner}::text end
        from unnest(p_references) r (reference) join {table} o on o.{table_key} = r.reference::{table_key_type};
    if rowcast.rewritten({table_name}) then
        raise exception 'the table was written anew meanwhile';
    end if;
end $owner$;

create or replace function rowcast.dependents_{shape}_{feed}(p_references text[]) returns table (reference text, key text, views text[])
language plpgsql stable set search_path = pg_catalog, pg_temp set row_security = off{settings} as $dependents$
begin
    -- As in the trigger: a column that has become another type is not read.
    if (select {stale} from {relation} r limit 1) then
        raise exception 'a published column has changed its type: run `rowcast migrate`';
    end if;
    return query select w.reference, {key}, array[{views}]
        from unnest(p_references) w (reference) join {relation} r on r.{column} = w.reference::{column_type};
    if rowcast.rewritten({relation_name}) then
        raise exception 'the table was written anew meanwhile';
    end if;
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
    v_fault text := 'gone';
begin
    begin
        if TG_OP = 'TRUNCATE' then
            v_op := 'T';
            v_fault := null;
        else
            -- No WHEN clause: it would keep the table's owner from altering these columns.
            if TG_OP = 'UPDATE' then
                if new.{owner} is not distinct from old.{owner} and new.{table_key} is not distinct from old.{table_key} then
                    return null;
                end if;
                if new.{table_key} = old.{table_key} then
                    v_new := {broadcast} || '-' || case when octet_length(new.{owner}::text) <= {owner_bytes} then new.{owner}::text end;
                    v_fault := null;
                end if;
            end if;
            v_key := old.{table_key}::text;
            v_old := {broadcast} || '-' || case when octet_length(old.{owner}::text) <= {owner_bytes} then old.{owner}::text end;
            if octet_length(v_key) > {owner_bytes} then
                -- What refers to it is nobody's.
                return null;
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
    for each row execute function rowcast.moved_{shape}_{feed}();
create or replace trigger "00_rowcast_gone_{shape}_{feed}" after delete on {table} for each row execute function rowcast.moved_{shape}_{feed}();
create or replace trigger "00_rowcast_emptied_{shape}_{feed}" after truncate on {table} for each statement execute function rowcast.moved_{shape}_{feed}();
alter table {table} enable always trigger "00_rowcast_moved_{shape}_{feed}";
alter table {table} enable always trigger "00_rowcast_gone_{shape}_{feed}";
alter table {table} enable always trigger "00_rowcast_emptied_{shape}_{feed}";
