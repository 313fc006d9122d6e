-- The trigger of one published table, rendered from the declarations of its streams.
-- AFTER ... FOR EACH ROW, because the row lock is then held to commit: for one row, outbox order is version order.
-- Named to fire before other AFTER triggers, which may change the row again.
-- Reading the row happens in a block whose errors become an entry of kind F: a dropped or renamed column, a value that no
-- json can be made of, never fail the writer. The block writes nothing, so it costs no subtransaction id.

create or replace function rowcast.{function}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set intervalstyle = 'iso_8601' as $capture$
declare
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
        if v_op <> 'D' then
            v_key := {new_key};
            v_new := array[{new_views}];
            v_new_channels := array[{new_channels}];
        end if;
        if v_op <> 'I' then
            v_old_key := {old_key};
            v_old := array[{old_views}];
            v_old_channels := array[{old_channels}];
        end if;
    exception when others then
        v_op := 'F';
        v_fault := left(sqlerrm, 500);
        v_key := null; v_old_key := null; v_new := null; v_old := null;
        v_new_channels := array[{broadcasts}]; v_old_channels := null;
    end;
    if v_op = 'D' then
        v_key := v_old_key;
        v_old_key := null;
    elsif v_old_key = v_key then
        v_old_key := null;
    end if;
    perform rowcast.put({shape}, v_op, v_key, v_old_key, v_new, v_old, v_new_channels, v_old_channels, v_fault,
        coalesce(octet_length(array_to_string(v_new, '')), 0) + coalesce(octet_length(array_to_string(v_old, '')), 0));
    return null;
end $capture$;

create or replace function rowcast.{truncate_function}() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $capture$
begin
    perform rowcast.put({shape}, 'T', null, null, null, null, array[{broadcasts}], null, null, 0);
    return null;
end $capture$;

create or replace trigger "00_rowcast_capture" after insert or update or delete on {relation}
    for each row execute function rowcast.{function}();
alter table {relation} enable always trigger "00_rowcast_capture";

create or replace trigger "00_rowcast_truncate" after truncate on {relation}
    for each statement execute function rowcast.{truncate_function}();
alter table {relation} enable always trigger "00_rowcast_truncate";
