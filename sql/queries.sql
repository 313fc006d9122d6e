-- The statements that the processes run, by name.

-- name: head
-- purpose: the newest position, and the life of the log it belongs to
select h.epoch, h.position from rowcast.head h order by h.from_position desc limit 1;

-- name: advance
-- purpose: one step of the sequencer
select epoch, position, moved, seen from rowcast.advance($1, $2::text::pg_snapshot);

-- name: waiting
-- purpose: is there anything to sequence since this snapshot? One read-only statement, no lock; `seen` is where to begin next time.
-- Rows of transactions that are still open are not looked at twice.
with past as materialized (
    select $1::text::pg_snapshot as seen
), ended as materialized (
    select coalesce(array_agg(x), '{}') as txids
    from past, pg_snapshot_xip(past.seen) x where pg_visible_in_snapshot(x, pg_current_snapshot())
)
select exists (
    select from rowcast.outbox_0 o
    where o.txid >= (select pg_snapshot_xmax(seen) from past) and o.txid < (select pg_snapshot_xmax(pg_current_snapshot()))
) or exists (
    select from rowcast.outbox_1 o
    where o.txid >= (select pg_snapshot_xmax(seen) from past) and o.txid < (select pg_snapshot_xmax(pg_current_snapshot()))
) or exists (
    select from rowcast.outbox_0 o where o.txid = any ((select e.txids from ended e)::xid8[])
) or exists (
    select from rowcast.outbox_1 o where o.txid = any ((select e.txids from ended e)::xid8[])
) as waiting, pg_current_snapshot()::text as seen;

-- name: head_snapshot
-- purpose: the head, and its snapshot to begin with: older than anything that has no position
select h.position, h.snapshot::text from rowcast.head h order by h.from_position desc limit 1;

-- name: fence
-- purpose: a transaction number above every one that has been given out
select pg_current_xact_id()::text::bigint;

-- name: oldest_open
-- purpose: every transaction with a lower number has ended
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint;

-- name: snapshot_head
-- purpose: where the log stands in this transaction's snapshot, that snapshot, and how far all is written that is visible in it
select h.epoch, h.position, pg_current_snapshot()::text as seen,
       case when not pg_is_in_recovery() then pg_current_wal_insert_lsn()::text end as written
from rowcast.head h order by h.from_position desc limit 1;

-- name: snapshot_end
-- purpose: where what a snapshot saw is not on the disk yet, write something that this transaction's commit waits for
select set_config('synchronous_commit', 'on', true),
       case when pg_is_in_recovery() then null
            when pg_current_wal_flush_lsn() < $1::text::pg_lsn then pg_logical_emit_message(true, 'rowcast', ''::text) end;

-- name: rewritten
-- purpose: was a table that this REPEATABLE READ transaction has read written anew since its snapshot (ALTER TABLE, TRUNCATE)? It looks
-- empty then, without an error. Or made since, which also an index may be
select exists (
    select from pg_locks l left join pg_class c on c.oid = l.relation
    where l.pid = pg_backend_pid() and l.locktype = 'relation'
      and case when c.oid is null then pg_relation_filenode(l.relation) is not null
               else c.relkind = 'r' and c.relfilenode <> 0 and c.relfilenode <> pg_relation_filenode(c.oid) end
);

-- name: stream_queries
-- purpose: how a table's streams are read
select streams from rowcast.shape where relation = $1 and retired_at is null;

-- name: become
-- purpose: whom row-level security is to judge for the rest of this transaction, and how values are rendered: as triggers do, whatever
-- the server's settings are
select set_config('timezone', 'UTC', true), set_config('intervalstyle', 'postgres', true), set_config('bytea_output', 'hex', true),
       set_config('extra_float_digits', '1', true), set_config('datestyle', 'ISO, YMD', true), set_config('lc_monetary', 'C', true),
       set_config('role', $1, true), set_config('request.jwt.claims', $2, true);

-- name: read_log
-- purpose: the entries after a position, at most so many and so many bytes (but at least one)
select l.position, l.txid::text::bigint as txid, l.shape, l.op, l.key, l.old_key, l.new, l.old, l.new_channels, l.old_channels,
       l.fault, l.committed_at, l.at_once
from (
    select e.*, sum(e.size) over (order by e.position) - e.size < $3 as at_once
    from rowcast.log e where e.position > $1 order by e.position limit $2
) l
where l.at_once order by l.position;

-- name: bounds
-- purpose: the oldest position that is kept, the head, the epoch, and where the epoch began
select (select min(s.first_position) from rowcast.segment s) as earliest, h.position, h.epoch, e.after_position
from (select * from rowcast.head order by from_position desc limit 1) h join rowcast.epoch e on e.epoch = h.epoch;

-- name: read_channels
-- purpose: cold replay: what these channels had after a position, with the bounds of the same snapshot in each row
with bounds as materialized (
    select (select min(s.first_position) from rowcast.segment s) as earliest, h.position as head, h.epoch, e.after_position
    from (select * from rowcast.head order by from_position desc limit 1) h join rowcast.epoch e on e.epoch = h.epoch
), hits as (
    select distinct p.position
    from unnest($1::text[]) as wanted (name) cross join lateral (
        select c.position from rowcast.log_channel c where c.channel = wanted.name and c.position > $2 order by c.position limit $3
    ) p
    order by p.position limit $3
), sized as (
    select l.*, sum(l.size) over (order by l.position) - l.size < $4 as at_once
    from hits join rowcast.log l on l.position = hits.position
)
select b.earliest, b.head, b.epoch, b.after_position, s.position, s.txid::text::bigint as txid, s.shape, s.op, s.key, s.old_key,
       s.new, s.old, s.new_channels, s.old_channels, s.fault, s.committed_at,
       (select count(*) from hits) as found
from bounds b left join sized s on s.at_once order by s.position;

-- name: shape
-- purpose: what a shape number means
select relation, streams from rowcast.shape where shape = $1;

-- name: lag
-- purpose: how long the oldest change that is committed and not yet published has been waiting, in seconds: in the log after a
-- position, or still in the outbox, also of a transaction that was open when the head was made
with head as materialized (
    select h.snapshot from rowcast.head h order by h.from_position desc limit 1
), ended as materialized (
    select coalesce(array_agg(x), '{}') as txids
    from head, pg_snapshot_xip(head.snapshot) x where pg_visible_in_snapshot(x, pg_current_snapshot())
), waiting as (
    (select l.committed_at as since from rowcast.log l where l.position > $1 order by l.position limit 1)
    union all
    select min(o.captured_at) from rowcast.outbox_0 o where o.txid >= (select pg_snapshot_xmax(h.snapshot) from head h)
    union all
    select min(o.captured_at) from rowcast.outbox_1 o where o.txid >= (select pg_snapshot_xmax(h.snapshot) from head h)
    union all
    select min(o.captured_at) from rowcast.outbox_0 o where o.txid = any ((select e.txids from ended e)::xid8[])
    union all
    select min(o.captured_at) from rowcast.outbox_1 o where o.txid = any ((select e.txids from ended e)::xid8[])
)
select coalesce(extract(epoch from clock_timestamp() - min(since)), 0)::float8 from waiting;

-- name: segment_age
-- purpose: the current segment, for how many seconds it has been open, and how many entries it has
select s.segment, extract(epoch from clock_timestamp() - s.opened_at)::float8 as age,
       (select h.position from rowcast.head h order by h.from_position desc limit 1) - s.first_position + 1 as entries
from rowcast.segment s order by s.segment desc limit 1;

-- name: prune_head
-- purpose: steps that nobody asks about any more
delete from rowcast.head h
where h.from_position < (select n.from_position from rowcast.head n order by n.from_position desc limit 1) and h.position < $1;

-- name: cluster
-- purpose: what the log believes about its cluster, and what is so
select h.epoch, h.position, c.system_identifier || '/' || c.timeline as history,
       e.system_identifier = c.system_identifier as same_cluster, e.timeline = c.timeline as same_timeline
from (select * from rowcast.head order by from_position desc limit 1) h
join rowcast.epoch e on e.epoch = h.epoch cross join rowcast.cluster() c;

-- name: history
-- purpose: which cluster this is, and which of its histories
select c.system_identifier || '/' || c.timeline from rowcast.cluster() c;

-- name: whole
-- purpose: has the log its newest entry, where retention has not dropped it? One that was truncated has not
select h.position < greatest((select min(s.first_position) from rowcast.segment s), e.after_position + 1)
    or exists (select from rowcast.log l where l.position = h.position)
from (select * from rowcast.head order by from_position desc limit 1) h join rowcast.epoch e on e.epoch = h.epoch;

-- name: rls_role
-- purpose: can this user become the role that row-level security judges, and is it one that policies concern?
select r.rolsuper or r.rolbypassrls as past_policies, pg_has_role(current_user, r.oid, 'MEMBER') as ours
from pg_roles r where r.rolname = $1;

-- name: unreadable
-- purpose: which of these columns of a table may a role not read? And does the table belong to the role?
select
    (select coalesce(array_agg(c), '{}') from unnest($3::text[]) c
     where not (has_schema_privilege($1, t.relnamespace, 'USAGE') and has_column_privilege($1, t.oid, c, 'SELECT'))) as columns,
    pg_has_role($1, t.relowner, 'MEMBER') and not t.relforcerowsecurity as owned
from pg_class t where t.oid = $2::text::regclass;

-- name: indexed
-- purpose: has a table an index that begins with this column?
select exists (
    select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = $1::text::regclass and a.attname = $2 and i.indisvalid and i.indpred is null
);

-- name: schema
-- purpose: up to which migration the database has come, and which program, by the newest that it has, is the oldest that can go on
select (select max(m.number) from rowcast.migration m) as number,
       (select i.definition::integer from rowcast.installed i where i.name = 'oldest program') as oldest;

-- name: ping
-- purpose: does Postgres answer?
select 1;

-- name: read_position
-- purpose: what the log has at a position, if anything, with the bounds of the same snapshot
with bounds as materialized (
    select (select min(s.first_position) from rowcast.segment s) as earliest, h.position as head, h.epoch, e.after_position
    from (select * from rowcast.head order by from_position desc limit 1) h join rowcast.epoch e on e.epoch = h.epoch
)
select b.earliest, b.head, b.epoch, b.after_position, l.position, l.txid::text::bigint as txid, l.shape, l.op, l.key, l.old_key,
       l.new, l.old, l.new_channels, l.old_channels, l.fault, l.committed_at
from bounds b left join rowcast.log l on l.position = $1;

-- name: hurry
-- purpose: how many milliseconds the statements of the rest of this transaction may take, and that they go by an index
select set_config('statement_timeout', $1, true), set_config('enable_seqscan', 'off', true);

-- name: outbox
-- purpose: how many committed changes have no position yet, and for how many seconds the oldest has waited for one
with head as materialized (
    select h.snapshot from rowcast.head h order by h.from_position desc limit 1
), ended as materialized (
    select coalesce(array_agg(x), '{}') as txids
    from head, pg_snapshot_xip(head.snapshot) x where pg_visible_in_snapshot(x, pg_current_snapshot())
), waiting as (
    select o.captured_at from rowcast.outbox_0 o where o.txid >= (select pg_snapshot_xmax(h.snapshot) from head h)
    union all
    select o.captured_at from rowcast.outbox_1 o where o.txid >= (select pg_snapshot_xmax(h.snapshot) from head h)
    union all
    select o.captured_at from rowcast.outbox_0 o where o.txid = any ((select e.txids from ended e)::xid8[])
    union all
    select o.captured_at from rowcast.outbox_1 o where o.txid = any ((select e.txids from ended e)::xid8[])
)
select count(*) as depth, coalesce(extract(epoch from clock_timestamp() - min(captured_at)), 0)::float8 as oldest_seconds from waiting;
