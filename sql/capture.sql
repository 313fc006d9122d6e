-- The trigger of one published table, rendered from the declarations of its streams.
-- AFTER ... FOR EACH ROW, because the row lock is then held to commit: for one row, outbox order is version order.
-- Named to fire before other AFTER triggers, which may change the row again.
-- Reading the row happens in a block whose errors become an entry of kind F: a dropped or renamed column, a value that no
-- json can be made of, never fail the writer. The block writes nothing, so it costs no subtransaction id.
-- A row is read by one expression, a cast to the view's type, and not by a query: 29 against 60 microseconds for an update.

{views}
create or replace function rowcast.{function}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp{settings} as $capture$
declare
    v_id           bigint;
    v_key          text;
    v_old_key      text;
    v_new          text[];
    v_old          text[];
    v_new_channels text[];
    v_old_channels text[];
    v_fault        text;
    v_op           "char" := left(TG_OP, 1);
begin
    begin
        -- A column that has become another type is not read: a cast that its owner defines would run with our rights.
        if v_op in ('I', 'U') then
            if {new_stale} then
                raise exception 'a published column has changed its type: run `rowcast migrate`';
            end if;
            v_key := {new_key};
            v_new := array[{new_views}];
            v_new_channels := array[{new_channels}];
        end if;
        if v_op in ('U', 'D') then
            if v_op = 'D' and ({old_stale}) then
                raise exception 'a published column has changed its type: run `rowcast migrate`';
            end if;
            v_old_key := {old_key};
            v_old := array[{old_views}];
            v_old_channels := array[{old_channels}];
        end if;
    exception when others or assert_failure then
        v_op := 'F';
        v_fault := left(sqlerrm, 500);
        v_key := null; v_old_key := null; v_new := null; v_old := null; v_old_channels := null;
    end;
    if v_op in ('T', 'F') then
        v_new_channels := array[{broadcasts}];
    elsif v_op = 'D' then
        v_key := v_old_key;
        v_old_key := null;
    elsif v_old_key = v_key then
        v_old_key := null;
    end if;
    v_id := nextval('rowcast.outbox_id');
    if (v_id >> {lane_bits}) & 1 = 0 then
        insert into rowcast.outbox_0 values (v_id, pg_current_xact_id(), {shape}, v_op, v_key, v_old_key, v_new, v_old,
            v_new_channels, v_old_channels, v_fault, {size}, clock_timestamp());
    else
        insert into rowcast.outbox_1 values (v_id, pg_current_xact_id(), {shape}, v_op, v_key, v_old_key, v_new, v_old,
            v_new_channels, v_old_channels, v_fault, {size}, clock_timestamp());
    end if;
    {ring}
    return null;
end $capture$;

create or replace trigger "00_rowcast_capture" after insert or update or delete on {relation}
    for each row execute function rowcast.{function}();
alter table {relation} enable always trigger "00_rowcast_capture";

-- A row trigger is cloned to partitions, a statement trigger is not: each gets its own.
do $each$
declare
    v_relation regclass;
begin
    for v_relation in select p.relid from pg_partition_tree({regclass}) p union select {regclass} loop
        execute format('create or replace trigger "00_rowcast_truncate" after truncate on %s'
            ' for each statement execute function rowcast.%s()', v_relation, {function_literal});
        execute format('alter table %s enable always trigger "00_rowcast_truncate"', v_relation);
    end loop;
end $each$;
