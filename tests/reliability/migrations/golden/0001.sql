-- What `rowcast migrate` installed before there was a second migration: functions, and the triggers of the example tables.
-- What runs inside Postgres. Installed anew by `rowcast migrate` whenever this file changes.
-- Names in braces are filled in by `sql.functions`: the advisory locks and the width of a lane.

-- purpose: the sequencer's step: give every change that has become visible since the head a position, in one statement
-- and so in one snapshot. Visible now and not in the head's snapshot: that is exact, whatever commits in between.
-- p_position, p_seen: a newer snapshot in which the caller saw nothing after p_position, or nulls.
create or replace function rowcast.advance(p_position bigint, p_seen pg_snapshot)
returns table (epoch text, "position" bigint, moved bigint, seen text)
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
declare
    v_head  rowcast.head;
    v_seen  pg_snapshot;
    v_from  xid8;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'rowcast.advance needs READ COMMITTED: the snapshot must be taken after the lock';
    end if;
    perform pg_advisory_xact_lock(7499639, 3);
    select h.* into strict v_head from rowcast.head h order by h.from_position desc limit 1;
    v_seen := case when p_position = v_head.position then coalesce(p_seen, v_head.snapshot) else v_head.snapshot end;
    v_from := pg_snapshot_xmax(v_seen);

    return query
    with ended as materialized (
        -- Only the transactions that were open then and have ended: rows of one that is still open are not even looked at.
        select coalesce(array_agg(x), '{}') as txids
        from pg_snapshot_xip(v_seen) x where pg_visible_in_snapshot(x, pg_current_snapshot())
    ), fresh as (
        select o.* from rowcast.outbox_0 o
        where o.txid >= v_from and o.txid < (select pg_snapshot_xmax(pg_current_snapshot()))
        union all
        select o.* from rowcast.outbox_1 o
        where o.txid >= v_from and o.txid < (select pg_snapshot_xmax(pg_current_snapshot()))
        union all
        select o.* from rowcast.outbox_0 o where o.txid = any ((select e.txids from ended e)::xid8[])
        union all
        select o.* from rowcast.outbox_1 o where o.txid = any ((select e.txids from ended e)::xid8[])
    ), transactions as (
        select f.*, max(f.id) over t as last_id, max(f.captured_at) over t as committed_at
        from fresh f window t as (partition by f.txid)
    ), numbered as materialized (
        -- By the last id of the transaction, then by id: one row's versions in order, transactions whole, real time kept.
        select t.*, v_head.position + row_number() over (order by t.last_id, t.id) as position from transactions t
    ), current_segment as materialized (
        select max(s.segment) as segment from rowcast.segment s
    ), entries as (
        insert into rowcast.log
        select c.segment, n.position, n.id, n.txid, n.shape, n.op, n.key, n.old_key, n.new, n.old,
               n.new_channels, n.old_channels, n.fault, n.size, n.committed_at
        from numbered n cross join current_segment c
    ), channels as (
        insert into rowcast.log_channel
        select distinct c.segment, channel, n.position
        from numbered n cross join current_segment c cross join unnest(n.new_channels || n.old_channels) channel
        where channel is not null
    )
    insert into rowcast.head as h
    select v_head.position, v_head.position + count(*), v_head.epoch, pg_current_snapshot()
    from numbered n having count(*) > 0
    returning h.epoch, h.position, h.position - h.from_position, h.snapshot::text;

    if not found then
        return query select v_head.epoch, v_head.position, 0::bigint, v_seen::text;
    end if;
end $$;

-- purpose: empty the lane that is not being filled, if all of it has a position and no open transaction has written to it
create or replace function rowcast.reclaim() returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    v_id   bigint;
    v_lane regclass;
    v_seen pg_snapshot;
    v_left boolean;
begin
    perform pg_advisory_xact_lock(7499639, 3);
    select last_value into v_id from rowcast.outbox_id;
    v_lane := case when (v_id >> 16) & 1 = 0 then 'rowcast.outbox_1' else 'rowcast.outbox_0' end::regclass;
    if pg_relation_size(v_lane) = 0 then
        return false;
    end if;
    begin
        -- Writers hold their lock to the end of their transaction, so getting this one proves that none is open.
        execute format('lock table %s in access exclusive mode nowait', v_lane);
    exception when lock_not_available then
        return false;
    end;
    select h.snapshot into strict v_seen from rowcast.head h order by h.from_position desc limit 1;
    execute format(
        'select exists (select from %1$s where txid >= pg_snapshot_xmax($1))
             or exists (select from %1$s where txid = any (array(select pg_snapshot_xip($1))))', v_lane)
        into v_left using v_seen;
    if v_left then
        return false;
    end if;
    execute format('truncate %s', v_lane);
    return true;
end $$;

-- purpose: start the next segment of the log; what is sequenced from now on goes there
create or replace function rowcast.open_segment() returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_segment  integer;
    v_position bigint;
begin
    perform pg_advisory_xact_lock(7499639, 3);
    select coalesce(max(segment), 0) + 1 into v_segment from rowcast.segment;
    select h.position into v_position from rowcast.head h order by h.from_position desc limit 1;
    -- LIKE and ATTACH, not PARTITION OF: that would lock the whole log against readers.
    execute format('create table rowcast.log_%s (like rowcast.log including all, check (segment = %1$s))', v_segment);
    execute format('create table rowcast.log_channel_%s (like rowcast.log_channel including all, check (segment = %1$s))', v_segment);
    execute format('alter table rowcast.log attach partition rowcast.log_%s for values in (%1$s)', v_segment);
    execute format('alter table rowcast.log_channel attach partition rowcast.log_channel_%s for values in (%1$s)', v_segment);
    insert into rowcast.segment (segment, first_position) values (v_segment, coalesce(v_position, 0) + 1);
    return v_segment;
end $$;

-- purpose: drop the segments that ended longer ago than the retention; readers are waited for 200 ms, then it is tried another time
create or replace function rowcast.drop_segments(p_retention interval) returns integer
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
    v_segment integer;
    v_dropped integer := 0;
begin
    for v_segment in
        select s.segment from rowcast.segment s join rowcast.segment next on next.segment = s.segment + 1
        where next.opened_at < clock_timestamp() - p_retention order by s.segment
    loop
        execute format('drop table rowcast.log_channel_%s', v_segment);
        execute format('drop table rowcast.log_%s', v_segment);
        delete from rowcast.segment where segment = v_segment;
        v_dropped := v_dropped + 1;
    end loop;
    return v_dropped;
end $$;

-- purpose: which cluster this is, and which of its histories: they change on restore and on failover
create or replace function rowcast.cluster(out system_identifier text, out timeline text)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select (select c.system_identifier::text from pg_control_system() c), left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
$$;

-- purpose: begin another life of the log. Changes that have no position yet keep their place; positions go on counting
create or replace function rowcast.begin_epoch(p_reason text, p_after_position bigint) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_epoch    text;
    v_position bigint;
    v_seen     pg_snapshot;
begin
    perform pg_advisory_xact_lock(7499639, 3);
    -- Thirty-two random bits in hexadecimal: epochs differ, their order means nothing.
    v_epoch := substr(replace(gen_random_uuid()::text, '-', ''), 1, 8);
    select greatest(coalesce(max(h.position), 0), p_after_position) into v_position from rowcast.head h;
    insert into rowcast.epoch (epoch, after_position, reason, system_identifier, timeline)
    select v_epoch, v_position, p_reason, c.system_identifier, c.timeline from rowcast.cluster() c;
    -- What the head's snapshot saw has a position, also where the log has been dropped since, and also in a copy of the
    -- database: there snapshot and rows are copies of one moment. What has none, and is another cluster's, becomes this transaction's.
    select h.snapshot into v_seen from rowcast.head h order by h.from_position desc limit 1;
    delete from rowcast.outbox_0 where pg_visible_in_snapshot(txid, v_seen);
    delete from rowcast.outbox_1 where pg_visible_in_snapshot(txid, v_seen);
    update rowcast.outbox_0 set txid = pg_current_xact_id() where not pg_visible_in_snapshot(txid, pg_current_snapshot());
    update rowcast.outbox_1 set txid = pg_current_xact_id() where not pg_visible_in_snapshot(txid, pg_current_snapshot());
    delete from rowcast.head;
    insert into rowcast.head values (v_position - 1, v_position, v_epoch, '1:1:');
    return v_epoch;
end $$;

insert into rowcast.installed values ('functions', 'of the first release');
insert into rowcast.shape (relation, streams, definition) values ('public.bookings', '[{"stream":"bookings","broadcast":"bookings-changes","owner":"customer_id","view":0,"columns":[{"name":"id","type":"int8"},{"name":"customer_id","type":"int8"},{"name":"provider_id","type":"int8"},{"name":"service_id","type":"int8"},{"name":"booking_date","type":"timestamptz"},{"name":"start_time","type":"timestamptz"},{"name":"end_time","type":"timestamptz"},{"name":"status","type":"text"},{"name":"notes","type":"text"},{"name":"created_at","type":"timestamptz"},{"name":"updated_at","type":"timestamptz"}]},{"stream":"provider-bookings","broadcast":"provider-bookings-changes","owner":"provider_id","view":0,"columns":[{"name":"id","type":"int8"},{"name":"customer_id","type":"int8"},{"name":"provider_id","type":"int8"},{"name":"service_id","type":"int8"},{"name":"booking_date","type":"timestamptz"},{"name":"start_time","type":"timestamptz"},{"name":"end_time","type":"timestamptz"},{"name":"status","type":"text"},{"name":"notes","type":"text"},{"name":"created_at","type":"timestamptz"},{"name":"updated_at","type":"timestamptz"}]}]', 'of the first release');
-- The trigger of one published table, rendered from the declarations of its streams.
-- AFTER ... FOR EACH ROW, because the row lock is then held to commit: for one row, outbox order is version order.
-- Named to fire before other AFTER triggers, which may change the row again.
-- Reading the row happens in a block whose errors become an entry of kind F: a dropped or renamed column, a value that no
-- json can be made of, never fail the writer. The block writes nothing, so it costs no subtransaction id.
-- A row is read by one expression, a cast to the view's type, and not by a query: 29 against 60 microseconds for an update.

create type rowcast.view_1_0 as (
    "id" pg_catalog."int8",
    "customer_id" pg_catalog."int8",
    "provider_id" pg_catalog."int8",
    "service_id" pg_catalog."int8",
    "booking_date" pg_catalog."timestamptz",
    "start_time" pg_catalog."timestamptz",
    "end_time" pg_catalog."timestamptz",
    "status" pg_catalog."text",
    "notes" pg_catalog."text",
    "created_at" pg_catalog."timestamptz",
    "updated_at" pg_catalog."timestamptz"
);

create or replace function rowcast."capture_public_bookings_69292528"() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $capture$
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
            if pg_typeof(new."id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(new."customer_id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(new."provider_id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(new."service_id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(new."booking_date") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(new."start_time") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(new."end_time") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(new."status") <> '"pg_catalog"."text"'::regtype or pg_typeof(new."notes") <> '"pg_catalog"."text"'::regtype or pg_typeof(new."created_at") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(new."updated_at") <> '"pg_catalog"."timestamptz"'::regtype then
                raise exception 'a published column has changed its type: run `rowcast migrate`';
            end if;
            v_key := concat('{"id":', coalesce(to_json(new."id")::text, 'null'), '}');
            v_new := array[case when coalesce(octet_length(new."status"), 0)::bigint + coalesce(octet_length(new."notes"), 0)::bigint <= 262144 then row_to_json(row(new."id", new."customer_id", new."provider_id", new."service_id", new."booking_date", new."start_time", new."end_time", new."status", new."notes", new."created_at", new."updated_at")::rowcast.view_1_0)::text end];
            v_new_channels := array['bookings-changes-' || new."customer_id"::text, 'provider-bookings-changes-' || new."provider_id"::text];
        end if;
        if v_op in ('U', 'D') then
            if v_op = 'D' and (pg_typeof(old."id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(old."customer_id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(old."provider_id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(old."service_id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(old."booking_date") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(old."start_time") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(old."end_time") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(old."status") <> '"pg_catalog"."text"'::regtype or pg_typeof(old."notes") <> '"pg_catalog"."text"'::regtype or pg_typeof(old."created_at") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(old."updated_at") <> '"pg_catalog"."timestamptz"'::regtype) then
                raise exception 'a published column has changed its type: run `rowcast migrate`';
            end if;
            v_old_key := concat('{"id":', coalesce(to_json(old."id")::text, 'null'), '}');
            v_old := array[case when coalesce(octet_length(old."status"), 0)::bigint + coalesce(octet_length(old."notes"), 0)::bigint <= 262144 then row_to_json(row(old."id", old."customer_id", old."provider_id", old."service_id", old."booking_date", old."start_time", old."end_time", old."status", old."notes", old."created_at", old."updated_at")::rowcast.view_1_0)::text end];
            v_old_channels := array['bookings-changes-' || old."customer_id"::text, 'provider-bookings-changes-' || old."provider_id"::text];
        end if;
    exception when others or assert_failure then
        v_op := 'F';
        v_fault := left(sqlerrm, 500);
        v_key := null; v_old_key := null; v_new := null; v_old := null; v_old_channels := null;
    end;
    if v_op in ('T', 'F') then
        v_new_channels := array['bookings-changes'::text, 'provider-bookings-changes'::text];
    elsif v_op = 'D' then
        v_key := v_old_key;
        v_old_key := null;
    elsif v_old_key = v_key then
        v_old_key := null;
    end if;
    v_id := nextval('rowcast.outbox_id');
    if (v_id >> 16) & 1 = 0 then
        insert into rowcast.outbox_0 values (v_id, pg_current_xact_id(), 1, v_op, v_key, v_old_key, v_new, v_old,
            v_new_channels, v_old_channels, v_fault, coalesce(octet_length(v_new[1]), 0) + coalesce(octet_length(v_old[1]), 0), clock_timestamp());
    else
        insert into rowcast.outbox_1 values (v_id, pg_current_xact_id(), 1, v_op, v_key, v_old_key, v_new, v_old,
            v_new_channels, v_old_channels, v_fault, coalesce(octet_length(v_new[1]), 0) + coalesce(octet_length(v_old[1]), 0), clock_timestamp());
    end if;
    if pg_try_advisory_lock_shared(7499639, 2) then
        perform pg_advisory_unlock_shared(7499639, 2);
        perform pg_notify('rowcast', '');
    end if;
    return null;
end $capture$;

create or replace trigger "00_rowcast_capture" after insert or update or delete on "public"."bookings"
    for each row execute function rowcast."capture_public_bookings_69292528"();
alter table "public"."bookings" enable always trigger "00_rowcast_capture";

-- A row trigger is cloned to partitions, a statement trigger is not: each gets its own.
do $each$
declare
    v_relation regclass;
begin
    for v_relation in select p.relid from pg_partition_tree('"public"."bookings"'::regclass) p union select '"public"."bookings"'::regclass loop
        execute format('create or replace trigger "00_rowcast_truncate" after truncate on %s'
            ' for each statement execute function rowcast.%s()', v_relation, '"capture_public_bookings_69292528"');
        execute format('alter table %s enable always trigger "00_rowcast_truncate"', v_relation);
    end loop;
end $each$;

insert into rowcast.shape (relation, streams, definition) values ('public.services', '[{"stream":"services","broadcast":"services-changes","owner":null,"view":0,"columns":[{"name":"id","type":"int8"},{"name":"name","type":"text"},{"name":"description","type":"text"},{"name":"category","type":"text"},{"name":"price","type":"numeric"},{"name":"duration_minutes","type":"int4"},{"name":"active","type":"bool"},{"name":"created_at","type":"timestamptz"},{"name":"updated_at","type":"timestamptz"}]}]', 'of the first release');
-- The trigger of one published table, rendered from the declarations of its streams.
-- AFTER ... FOR EACH ROW, because the row lock is then held to commit: for one row, outbox order is version order.
-- Named to fire before other AFTER triggers, which may change the row again.
-- Reading the row happens in a block whose errors become an entry of kind F: a dropped or renamed column, a value that no
-- json can be made of, never fail the writer. The block writes nothing, so it costs no subtransaction id.
-- A row is read by one expression, a cast to the view's type, and not by a query: 29 against 60 microseconds for an update.

create type rowcast.view_2_0 as (
    "id" pg_catalog."int8",
    "name" pg_catalog."text",
    "description" pg_catalog."text",
    "category" pg_catalog."text",
    "price" pg_catalog."numeric",
    "duration_minutes" pg_catalog."int4",
    "active" pg_catalog."bool",
    "created_at" pg_catalog."timestamptz",
    "updated_at" pg_catalog."timestamptz"
);

create or replace function rowcast."capture_public_services_81aeb19f"() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $capture$
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
            if pg_typeof(new."id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(new."name") <> '"pg_catalog"."text"'::regtype or pg_typeof(new."description") <> '"pg_catalog"."text"'::regtype or pg_typeof(new."category") <> '"pg_catalog"."text"'::regtype or pg_typeof(new."price") <> '"pg_catalog"."numeric"'::regtype or pg_typeof(new."duration_minutes") <> '"pg_catalog"."int4"'::regtype or pg_typeof(new."active") <> '"pg_catalog"."bool"'::regtype or pg_typeof(new."created_at") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(new."updated_at") <> '"pg_catalog"."timestamptz"'::regtype then
                raise exception 'a published column has changed its type: run `rowcast migrate`';
            end if;
            v_key := concat('{"id":', coalesce(to_json(new."id")::text, 'null'), '}');
            v_new := array[case when coalesce(octet_length(new."name"), 0)::bigint + coalesce(octet_length(new."description"), 0)::bigint + coalesce(octet_length(new."category"), 0)::bigint + coalesce(pg_column_size(new."price")::bigint * case when pg_column_compression(new."price") is null then 1 else 8 end, 0) <= 262144 then row_to_json(row(new."id", new."name", new."description", new."category", new."price", new."duration_minutes", new."active", new."created_at", new."updated_at")::rowcast.view_2_0)::text end];
            v_new_channels := array['services-changes'::text];
        end if;
        if v_op in ('U', 'D') then
            if v_op = 'D' and (pg_typeof(old."id") <> '"pg_catalog"."int8"'::regtype or pg_typeof(old."name") <> '"pg_catalog"."text"'::regtype or pg_typeof(old."description") <> '"pg_catalog"."text"'::regtype or pg_typeof(old."category") <> '"pg_catalog"."text"'::regtype or pg_typeof(old."price") <> '"pg_catalog"."numeric"'::regtype or pg_typeof(old."duration_minutes") <> '"pg_catalog"."int4"'::regtype or pg_typeof(old."active") <> '"pg_catalog"."bool"'::regtype or pg_typeof(old."created_at") <> '"pg_catalog"."timestamptz"'::regtype or pg_typeof(old."updated_at") <> '"pg_catalog"."timestamptz"'::regtype) then
                raise exception 'a published column has changed its type: run `rowcast migrate`';
            end if;
            v_old_key := concat('{"id":', coalesce(to_json(old."id")::text, 'null'), '}');
            v_old := array[case when coalesce(octet_length(old."name"), 0)::bigint + coalesce(octet_length(old."description"), 0)::bigint + coalesce(octet_length(old."category"), 0)::bigint + coalesce(pg_column_size(old."price")::bigint * case when pg_column_compression(old."price") is null then 1 else 8 end, 0) <= 262144 then row_to_json(row(old."id", old."name", old."description", old."category", old."price", old."duration_minutes", old."active", old."created_at", old."updated_at")::rowcast.view_2_0)::text end];
            v_old_channels := array['services-changes'::text];
        end if;
    exception when others or assert_failure then
        v_op := 'F';
        v_fault := left(sqlerrm, 500);
        v_key := null; v_old_key := null; v_new := null; v_old := null; v_old_channels := null;
    end;
    if v_op in ('T', 'F') then
        v_new_channels := array['services-changes'::text];
    elsif v_op = 'D' then
        v_key := v_old_key;
        v_old_key := null;
    elsif v_old_key = v_key then
        v_old_key := null;
    end if;
    v_id := nextval('rowcast.outbox_id');
    if (v_id >> 16) & 1 = 0 then
        insert into rowcast.outbox_0 values (v_id, pg_current_xact_id(), 2, v_op, v_key, v_old_key, v_new, v_old,
            v_new_channels, v_old_channels, v_fault, coalesce(octet_length(v_new[1]), 0) + coalesce(octet_length(v_old[1]), 0), clock_timestamp());
    else
        insert into rowcast.outbox_1 values (v_id, pg_current_xact_id(), 2, v_op, v_key, v_old_key, v_new, v_old,
            v_new_channels, v_old_channels, v_fault, coalesce(octet_length(v_new[1]), 0) + coalesce(octet_length(v_old[1]), 0), clock_timestamp());
    end if;
    if pg_try_advisory_lock_shared(7499639, 2) then
        perform pg_advisory_unlock_shared(7499639, 2);
        perform pg_notify('rowcast', '');
    end if;
    return null;
end $capture$;

create or replace trigger "00_rowcast_capture" after insert or update or delete on "public"."services"
    for each row execute function rowcast."capture_public_services_81aeb19f"();
alter table "public"."services" enable always trigger "00_rowcast_capture";

-- A row trigger is cloned to partitions, a statement trigger is not: each gets its own.
do $each$
declare
    v_relation regclass;
begin
    for v_relation in select p.relid from pg_partition_tree('"public"."services"'::regclass) p union select '"public"."services"'::regclass loop
        execute format('create or replace trigger "00_rowcast_truncate" after truncate on %s'
            ' for each statement execute function rowcast.%s()', v_relation, '"capture_public_services_81aeb19f"');
        execute format('alter table %s enable always trigger "00_rowcast_truncate"', v_relation);
    end loop;
end $each$;

