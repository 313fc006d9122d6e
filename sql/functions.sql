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
    perform pg_advisory_xact_lock({lock_class}, {sequencer_lock});
    select h.* into strict v_head from rowcast.head h order by h.from_position desc limit 1;
    v_seen := case when p_position = v_head.position then coalesce(p_seen, v_head.snapshot) else v_head.snapshot end;
    v_from := pg_snapshot_xmax(v_seen);

    return query
    with ended as materialized (
        -- Only the transactions that were open then and have ended: rows of one that is still open are not even looked at.
        select coalesce(array_agg(x), '{{}}') as txids
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
    ), transactions as materialized (
        select f.*, max(f.id) over t as last_id, max(f.captured_at) over t as committed_at
        from fresh f window t as (partition by f.txid)
    ),
    -- Whose a row is that another table gives an owner: that table as this snapshot sees it, taken back over what has happened
    -- since in the order of the log. Whatever is visible is in this batch, so this is exact, and no writer waits for anybody.
    refs as materialized (
        select t.id, t.last_id, t.txid, t.shape, v.feed, v.broadcast, v.broadcasts, t.op, t.key, coalesce(t.old_key, t.key) as key_before,
               substr(t.new_channels[v.feed], 2) as new_ref, substr(t.old_channels[v.feed], 2) as old_ref, t.old
        from rowcast.via v join transactions t on t.shape = v.shape
        where t.op in ('I', 'U', 'D')
    ), moved as materialized (
        select t.id, t.last_id, t.txid, t.shape, v.feed, v.broadcast, v.broadcasts, t.key as ref,
               t.new_channels[v.feed] as new_channel, t.old_channels[v.feed] as old_channel, t.fault is not null as gone
        from rowcast.via v join transactions t on t.shape = v.shape
        where t.op = 'M' and cardinality(t.new_channels) = v.feed
    ), owners as materialized (
        select d.shape, d.feed, d.ref, rowcast.look_up(d.shape, d.feed, d.ref) as found
        from (
            select distinct r.shape, r.feed, e.ref from refs r cross join lateral (values (r.new_ref), (r.old_ref)) e (ref)
            where e.ref is not null
            union
            select m.shape, m.feed, m.ref from moved m where m.gone
        ) d
    ), moves as materialized (
        -- A key that is used again after its row has gone: what still refers to it is the next owner's from here on.
        select m.id, m.last_id, m.txid, m.shape, m.feed, m.broadcasts, m.ref, m.gone, m.old_channel,
               case when not m.gone then m.new_channel
                    when n.id is not null then n.old_channel
                    else m.broadcast || '-' || o.found[1] end as new_channel,
               m.gone and o.found is null as fault
        from moved m
        left join owners o on m.gone and o.shape = m.shape and o.feed = m.feed and o.ref = m.ref
        left join lateral (
            select f.* from moved f
            where f.shape = m.shape and f.feed = m.feed and f.ref = m.ref and (f.last_id, f.id) > (m.last_id, m.id)
            order by f.last_id, f.id limit 1
        ) n on true
    ),
    -- What has happened next, after each move, to each row: those that referred to it then have changed hands with it. What a
    -- foreign key deletes with it is deleted after it, and is still its owner's.
    since as materialized (
        select distinct on (m.id, m.feed, touched.key) m.id, m.feed, touched.key, r.id as entry, r.old, m.old_channel,
               mine.it and m.gone and r.op = 'D' and r.txid = m.txid as fell,
               mine.it and not (m.gone and r.op = 'D' and r.txid = m.txid) as depended
        from moves m
        join refs r on r.shape = m.shape and r.feed = m.feed and (r.last_id, r.id) > (m.last_id, m.id)
        cross join lateral (values (r.key), (r.key_before)) touched (key)
        cross join lateral (select r.op <> 'I' and touched.key = r.key_before and r.old_ref = m.ref) mine (it)
        order by m.id, m.feed, touched.key, r.last_id, r.id
    ), owned as materialized (
        select r.id, r.feed, side.new, o.found is null as fault,
               -- Deleted with the row that it referred to; else whose it was at the next move; else whose it is.
               case when s.id is not null then s.old_channel
                    when m.id is not null then m.old_channel
                    else r.broadcast || '-' || o.found[1] end as channel
        from refs r
        cross join lateral (values (true, r.new_ref), (false, r.old_ref)) side (new, ref)
        join owners o on o.shape = r.shape and o.feed = r.feed and o.ref = side.ref
        left join lateral (
            select c.* from since c where c.entry = r.id and c.feed = r.feed and c.fell order by c.id desc limit 1
        ) s on true
        left join lateral (
            select m.* from moves m
            where m.shape = r.shape and m.feed = r.feed and m.ref = side.ref and (m.last_id, m.id) > (r.last_id, r.id)
            order by m.last_id, m.id limit 1
        ) m on true
    ), dependents as materialized (
        select s.id, s.feed, s.key, s.old as views, false as fault from since s where s.depended
        union all
        select m.id, m.feed, d.key, d.views, d.fault
        from moves m cross join lateral rowcast.look_up_dependents(m.shape, m.feed, m.ref) d
        where not exists (select from since s where s.id = m.id and s.feed = m.feed and s.key = d.key)
    ), faults as materialized (
        select r.id, r.broadcasts from refs r join owned o on o.id = r.id and o.feed = r.feed and o.fault
        union
        select m.id, m.broadcasts from moves m join dependents d on d.id = m.id and d.feed = m.feed and d.fault
        union
        select m.id, m.broadcasts from moves m where m.fault
    ), settled as (
        select t.last_id, t.id, 0::bigint as turn, t.txid, t.shape, t.op, t.key, t.old_key, t.new, t.old,
               t.new_channels, t.old_channels, t.fault, t.size, t.committed_at
        from transactions t where t.op <> 'M' and t.shape not in (select v.shape from rowcast.via v)
        union all
        select t.last_id, t.id, 0, t.txid, t.shape, case when f.id is null then t.op else 'F' end, t.key, t.old_key, t.new, t.old,
               case when f.id is not null then f.broadcasts when t.op in ('I', 'U', 'D') then (
                   select array_agg(case when v.feed is null then c.channel else o.channel end order by c.feed)
                   from unnest(t.new_channels) with ordinality c (channel, feed)
                   left join rowcast.via v on v.shape = t.shape and v.feed = c.feed
                   left join owned o on o.id = t.id and o.feed = c.feed and o.new
               ) when t.op <> 'M' then t.new_channels end,
               case when f.id is null and t.op in ('I', 'U', 'D') then (
                   select array_agg(case when v.feed is null then c.channel else o.channel end order by c.feed)
                   from unnest(t.old_channels) with ordinality c (channel, feed)
                   left join rowcast.via v on v.shape = t.shape and v.feed = c.feed
                   left join owned o on o.id = t.id and o.feed = c.feed and not o.new
               ) end,
               case when f.id is not null then 'whose it is cannot be found out' when t.op <> 'M' then t.fault end, t.size, t.committed_at
        from transactions t left join faults f on f.id = t.id
        where t.shape in (select v.shape from rowcast.via v)
        union all
        select t.last_id, t.id, row_number() over (partition by t.id order by d.key), t.txid, t.shape, 'U', d.key, null, d.views, d.views,
               (select array_agg(case when n = d.feed then m.new_channel end order by n) from generate_series(1, cardinality(m.broadcasts)) n),
               (select array_agg(case when n = d.feed then m.old_channel end order by n) from generate_series(1, cardinality(m.broadcasts)) n),
               null, 2 * coalesce(octet_length(array_to_string(d.views, '')), 0), t.committed_at
        from dependents d
        join moves m on m.id = d.id and m.feed = d.feed
        join transactions t on t.id = m.id
        where not d.fault and m.old_channel is distinct from m.new_channel
    ), numbered as materialized (
        -- By the last id of the transaction, then by id: one row's versions in order, transactions whole, real time kept.
        select t.*, v_head.position + row_number() over (order by t.last_id, t.id, t.turn) as position from settled t
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
        from numbered n cross join current_segment c cross join unnest(n.new_channels || n.old_channels) place
        cross join unnest(string_to_array(place, {separator})) channel
    )
    insert into rowcast.head as h
    select v_head.position, v_head.position + count(*), v_head.epoch, pg_current_snapshot()
    from numbered n having count(*) > 0
    returning h.epoch, h.position, h.position - h.from_position, h.snapshot::text;

    if not found then
        return query select v_head.epoch, v_head.position, 0::bigint, v_seen::text;
    end if;
end $$;

-- purpose: the owner that another table names, as the calling statement sees it: in an array, null where that cannot be found out
create or replace function rowcast.look_up(p_shape integer, p_feed integer, p_reference text) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    v_owner text;
begin
    execute format('select rowcast.owner_%s_%s($1)', p_shape, p_feed) into v_owner using p_reference;
    return array[v_owner];
exception when others or assert_failure then
    -- The table or the function has gone: one table's trouble does not stop the log.
    return null;
end $$;

-- purpose: the rows that refer to another, as the calling statement sees them; one with `fault` where they cannot be found out
create or replace function rowcast.look_up_dependents(p_shape integer, p_feed integer, p_reference text)
returns table (key text, views text[], fault boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return query execute format('select d.key, d.views, false from rowcast.dependents_%s_%s($1) d', p_shape, p_feed) using p_reference;
exception when others or assert_failure then
    return query select null::text, null::text[], true;
end $$;

-- purpose: the channels of a row with several owners; an owner with the separator in it is nobody. More than so many are an error
create or replace function rowcast.owners(p_prefix text, p_owners text[], p_separator text, p_bytes integer, p_most integer) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    if cardinality(p_owners) > p_most then
        raise exception 'a row has % owners, and % are the most', cardinality(p_owners), p_most;
    end if;
    return (
        select string_agg(distinct p_prefix || o, p_separator) from unnest(p_owners) o
        where octet_length(o) <= p_bytes and strpos(o, p_separator) = 0
    );
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
    perform pg_advisory_xact_lock({lock_class}, {sequencer_lock});
    select last_value into v_id from rowcast.outbox_id;
    v_lane := case when (v_id >> {lane_bits}) & 1 = 0 then 'rowcast.outbox_1' else 'rowcast.outbox_0' end::regclass;
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
    perform pg_advisory_xact_lock({lock_class}, {sequencer_lock});
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
    perform pg_advisory_xact_lock({lock_class}, {sequencer_lock});
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
