-- What runs inside Postgres. Installed anew by `rowcast migrate` whenever this file changes.
-- Names in braces are filled in by `sql.functions`: the advisory locks and the width of a lane.

-- purpose: the sequencer's step: give every change that has become visible since the head a position, in one statement
-- and so in one snapshot. Visible now and not in the head's snapshot: that is exact, whatever commits in between.
-- p_position, p_seen: a newer snapshot in which the caller saw nothing after p_position, or nulls.
-- The planner knows nothing of these lists, and guesses that they are short: of the joins only a hash is quick whatever they are.
create or replace function rowcast.advance(p_position bigint, p_seen pg_snapshot)
returns table (epoch text, "position" bigint, moved bigint, seen text)
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
set jit = off as $$
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
    -- Joined by equality first, and by order within a reference or a key: a batch may have a million of each.
    refs as materialized (
        select t.id, t.last_id, t.txid, t.shape, v.feed, t.op, t.key, coalesce(t.old_key, t.key) as key_before,
               substr(t.new_channels[v.feed], 2) as new_ref, substr(t.old_channels[v.feed], 2) as old_ref, t.old
        from transactions t join rowcast.via v on v.shape = t.shape
        where t.op in ('I', 'U', 'D')
    ), moved as materialized (
        select t.id, t.last_id, t.txid, t.shape, v.feed, v.broadcast, t.key as ref, t.new_channels[v.feed] as new_channel,
               t.old_channels[v.feed] as old_channel, t.fault is not null as gone
        from transactions t join rowcast.via v on v.shape = t.shape
        where t.op = 'M' and cardinality(t.new_channels) = v.feed
    ), places as (
        select r.shape, r.feed, e.ref, r.last_id, r.id, e.new, null::text as old_channel, false as moves, false as gone
        from refs r cross join lateral (values (true, r.new_ref), (false, r.old_ref)) e (new, ref)
        where e.ref is not null
        union all
        select m.shape, m.feed, m.ref, m.last_id, m.id, null, m.old_channel, true, m.gone from moved m
    ), counted as (
        select p.*, count(*) filter (where p.moves) over (partition by p.shape, p.feed, p.ref order by p.last_id desc, p.id desc) as ahead
        from places p
    ), placed as materialized (
        -- Whose it was when it moved next, where `ahead` says that it did.
        select c.*, max(c.old_channel) filter (where c.moves) over (partition by c.shape, c.feed, c.ref, c.ahead) as next_channel
        from counted c
    ), owners as materialized (
        select w.shape, w.feed, o.reference as ref, o.owner, o.fault
        from (
            select p.shape, p.feed, array_agg(distinct p.ref) as refs from placed p
            where p.ahead = 0 or (p.moves and p.gone and p.ahead = 1) group by p.shape, p.feed
        ) w cross join lateral rowcast.look_up(w.shape, w.feed, w.refs) o
    ), moves as materialized (
        -- A key that is used again after its row has gone: what still refers to it is the next owner's from here on.
        select m.id, m.last_id, m.txid, m.shape, m.feed, m.ref, m.gone, m.old_channel,
               case when not m.gone then m.new_channel when m.next_id is not null then m.next_channel
                    else m.broadcast || '-' || o.owner end as new_channel
        from (
            select d.*, lead(d.id) over w as next_id, lead(d.old_channel) over w as next_channel
            from moved d window w as (partition by d.shape, d.feed, d.ref order by d.last_id, d.id)
        ) m left join owners o on o.shape = m.shape and o.feed = m.feed and o.ref = m.ref
    ), touches as materialized (
        select r.shape, r.feed, k.key, r.last_id, r.id, r.txid, r.op, r.old, r.old_ref, r.op <> 'I' and k.key = r.key_before as was,
               lag(r.last_id) over w as before_last, lag(r.id) over w as before_id,
               lead(r.id) over w is null as last
        from refs r cross join lateral (select r.key union select r.key_before) k (key)
        window w as (partition by r.shape, r.feed, k.key order by r.last_id, r.id)
    ),
    -- What has happened next, after each move, to each row that referred to it then. What a foreign key deletes with it is deleted
    -- after it, and is still its owner's; all else has changed hands with it.
    since as materialized (
        select m.id, m.feed, t.key, t.id as entry, t.old, m.old_channel, m.gone and t.op = 'D' and t.txid = m.txid as fell
        from moves m join touches t on t.shape = m.shape and t.feed = m.feed and t.old_ref = m.ref
        where t.was and (t.last_id, t.id) > (m.last_id, m.id)
          and (t.before_id is null or (t.before_last, t.before_id) < (m.last_id, m.id))
    ), fallen as (
        select distinct on (s.entry, s.feed) s.entry, s.feed, s.old_channel from since s where s.fell order by s.entry, s.feed, s.id desc
    ), found as materialized (
        select w.shape, w.feed, d.reference, d.key, d.views, d.fault
        from (
            select m.shape, m.feed, array_agg(distinct m.ref) as refs from moves m
            where m.old_channel is distinct from m.new_channel group by m.shape, m.feed
        ) w cross join lateral rowcast.look_up_dependents(w.shape, w.feed, w.refs) d
    ), dependents as (
        select s.id, s.feed, s.key, s.old as views from since s where not s.fell
        union all
        select m.id, m.feed, d.key, d.views
        from found d
        join moves m on m.shape = d.shape and m.feed = d.feed and m.ref = d.reference
        left join touches t on t.shape = d.shape and t.feed = d.feed and t.key = d.key and t.last
        where t.id is null or (t.last_id, t.id) < (m.last_id, m.id)
    ), owned as (
        select p.id, p.feed,
               max(case when p.ahead > 0 then p.next_channel else v.broadcast || '-' || o.owner end) filter (where p.new) as new_channel,
               max(case when f.entry is not null then f.old_channel when p.ahead > 0 then p.next_channel
                        else v.broadcast || '-' || o.owner end) filter (where not p.new) as old_channel
        from placed p
        join rowcast.via v on v.shape = p.shape and v.feed = p.feed
        left join owners o on o.shape = p.shape and o.feed = p.feed and o.ref = p.ref
        left join fallen f on f.entry = p.id and f.feed = p.feed
        where not p.moves group by p.id, p.feed
    ), feeds as materialized (
        select distinct v.shape, v.broadcasts from rowcast.via v
    ), troubled as (
        select o.shape from owners o where o.fault union select d.shape from found d where d.fault
    ), addressed as (
        select t.id,
               array_agg(case when v.feed is null then t.new_channels[n] else o.new_channel end order by n) as new_channels,
               array_agg(case when v.feed is null then t.old_channels[n] else o.old_channel end order by n) as old_channels
        from transactions t
        join feeds s on s.shape = t.shape
        cross join lateral generate_series(1, cardinality(s.broadcasts)) n
        left join rowcast.via v on v.shape = t.shape and v.feed = n
        left join owned o on o.id = t.id and o.feed = n
        where t.op in ('I', 'U', 'D') group by t.id
    ), settled as (
        select t.last_id, t.id, 0::bigint as turn, t.txid, t.shape, t.op, t.key, t.old_key, t.new, t.old,
               t.new_channels, t.old_channels, t.fault, t.size, t.committed_at
        from transactions t left join feeds s on s.shape = t.shape where s.shape is null
        union all
        select t.last_id, t.id, 0, t.txid, t.shape, case when x.shape is null then t.op else 'F' end, t.key, t.old_key, t.new, t.old,
               case when x.shape is not null then s.broadcasts when t.op in ('I', 'U', 'D') then c.new_channels
                    when t.op <> 'M' then t.new_channels end,
               case when x.shape is null then c.old_channels end,
               case when x.shape is not null then 'whose it is cannot be found out' when t.op <> 'M' then t.fault end,
               t.size, t.committed_at
        from transactions t
        join feeds s on s.shape = t.shape
        left join addressed c on c.id = t.id
        left join troubled x on x.shape = t.shape
        union all
        select t.last_id, t.id, row_number() over (partition by t.id order by d.key), t.txid, t.shape, 'U', d.key, null, d.views, d.views,
               array_fill(null::text, array[m.feed - 1]) || m.new_channel || array_fill(null::text, array[cardinality(s.broadcasts) - m.feed]),
               array_fill(null::text, array[m.feed - 1]) || m.old_channel || array_fill(null::text, array[cardinality(s.broadcasts) - m.feed]),
               null, 2 * coalesce(octet_length(array_to_string(d.views, '')), 0), t.committed_at
        from dependents d
        join moves m on m.id = d.id and m.feed = d.feed
        join transactions t on t.id = m.id
        join feeds s on s.shape = t.shape
        left join troubled x on x.shape = t.shape
        where x.shape is null and m.old_channel is distinct from m.new_channel
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

-- purpose: the owners that another table names, as the calling statement sees them; one row with `fault` where that cannot be
-- found out: one table's trouble, or its lock, does not stop the log
create or replace function rowcast.look_up(p_shape integer, p_feed integer, p_references text[])
returns table (reference text, owner text, fault boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' set enable_seqscan = on as $$
begin
    return query execute format('select o.reference, o.owner, false from rowcast.owner_%s_%s($1) o', p_shape, p_feed) using p_references;
exception when others or assert_failure then
    return query select null::text, null::text, true;
end $$;

-- purpose: the rows that refer to some others, as the calling statement sees them; one with `fault` where they cannot be found out
create or replace function rowcast.look_up_dependents(p_shape integer, p_feed integer, p_references text[])
returns table (reference text, key text, views text[], fault boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' set enable_seqscan = on as $$
begin
    return query execute format('select d.reference, d.key, d.views, false from rowcast.dependents_%s_%s($1) d', p_shape, p_feed)
        using p_references;
exception when others or assert_failure then
    return query select null::text, null::text, null::text[], true;
end $$;

-- purpose: was a table written anew (ALTER TABLE, TRUNCATE) after the snapshot of the calling statement? Once somebody in it holds a lock on
-- the table: it looks empty then, without an error. Of a partitioned table each partition
create or replace function rowcast.rewritten(p_table regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
    select exists (
        select from (select p_table union select t.relid from pg_partition_tree(p_table) t) t (relid) join pg_class c on c.oid = t.relid
        where c.relkind = 'r' and c.relfilenode <> pg_relation_filenode(c.oid)
    )
$$;

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

-- purpose: let rows of a lane be deleted where a publication has all tables: Postgres refuses it where nothing tells them apart, and no
-- epoch could begin. Takes the lane for itself
create or replace function rowcast.identify(p_lane regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    execute format('alter table %s replica identity full', p_lane);
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
    if (select c.relreplident from pg_class c where c.oid = v_lane) <> 'f' then
        -- Of an installation of before, where nobody is in the way.
        perform rowcast.identify(v_lane);
    end if;
    return true;
end $$;

-- purpose: make the tables of a segment, where they are not there
create or replace function rowcast.attach_segment(p_segment integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_log text;
begin
    perform pg_advisory_xact_lock({lock_class}, {sequencer_lock});
    foreach v_log in array array['log', 'log_channel'] loop
        if to_regclass(format('rowcast.%s_%s', v_log, p_segment)) is null then
            -- LIKE and ATTACH, not PARTITION OF: that would lock the whole log against readers.
            execute format('create table rowcast.%1$s_%2$s (like rowcast.%1$s including all, check (segment = %2$s))', v_log, p_segment);
            execute format('alter table rowcast.%1$s attach partition rowcast.%1$s_%2$s for values in (%2$s)', v_log, p_segment);
        end if;
    end loop;
end $$;

-- purpose: start the next segment of the log; what is sequenced from now on goes there. Its tables were made when the one before was
-- started: a reader whose query was planned before they were there, and is run after, would see a head beyond what it reads
create or replace function rowcast.open_segment() returns integer
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_segment  integer;
    v_position bigint;
begin
    perform pg_advisory_xact_lock({lock_class}, {sequencer_lock});
    select coalesce(max(segment), 0) + 1 into v_segment from rowcast.segment;
    select h.position into v_position from rowcast.head h order by h.from_position desc limit 1;
    perform rowcast.attach_segment(v_segment);
    perform rowcast.attach_segment(v_segment + 1);
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
    -- Where the clock was wrong for a while, a segment may seem younger than those behind it: the oldest goes first all the same, for
    -- the log has no hole.
    for v_segment in
        select s.segment from rowcast.segment s
        where (select min(later.opened_at) from rowcast.segment later where later.segment > s.segment) < clock_timestamp() - p_retention
        order by s.segment
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
