-- The tables of capture and sequencing. Nothing here is ever updated in place, and only `head` is ever deleted from:
-- an old snapshot that somebody holds open keeps dead rows alive, and a structure without dead rows does not notice.

create schema if not exists rowcast;
revoke all on schema rowcast from public;

-- One version of one published table's declaration: what the numbers in the trigger's rows mean.
create table rowcast.shape (
    shape        integer generated always as identity primary key,
    relation     text not null,                  -- public.bookings
    streams      json not null,                  -- [{"stream", "broadcast", "owner", "view", "columns": [{"name", "type"}]}], aligned with the channel arrays
    definition   text not null,                  -- the rendered trigger, to see whether a declaration has changed
    installed_at timestamptz not null default clock_timestamp(),
    retired_at   timestamptz
);
create unique index shape_installed on rowcast.shape (relation) where retired_at is null;

-- Changes that have no position yet, and for a while those that have. Two lanes, filled in turn; a lane that is
-- wholly sequenced and that no open transaction has written to is truncated. CACHE 1: for one row, id order is version order.
create sequence rowcast.outbox_id as bigint cache 1;

create table rowcast.outbox_0 (
    id           bigint not null,
    txid         xid8 not null,
    shape        integer not null,
    op           "char" not null,                -- I, U, D; T: truncated; F: the capture failed
    key          text,                           -- json of the key columns; of the old row for D
    old_key      text,                           -- where an update changed the key
    new          text[],                         -- json of the row, one per view; null: too large
    old          text[],
    new_channels text[],                         -- one per stream; null: nobody
    old_channels text[],
    fault        text,                           -- for F: what went wrong
    size         integer not null,               -- bytes of new and old
    captured_at  timestamptz not null
) with (autovacuum_enabled = off);               -- nothing ever dies here but by TRUNCATE
create table rowcast.outbox_1 (like rowcast.outbox_0) with (autovacuum_enabled = off);
create index outbox_0_txid on rowcast.outbox_0 (txid);
create index outbox_1_txid on rowcast.outbox_1 (txid);

-- One life of the log. A restored database, or one that has lost commits, starts another.
create table rowcast.epoch (
    number            integer generated always as identity primary key,
    epoch             text not null unique check (epoch ~ '^[0-9a-z]{4,16}$'),
    after_position    bigint not null,
    reason            text not null,
    system_identifier text not null,
    timeline          text not null,
    started_at        timestamptz not null default clock_timestamp()
);

-- The newest row is the head of the log. Each step of the sequencer adds one: two steps from the same position collide.
create table rowcast.head (
    from_position bigint primary key,
    position      bigint not null,
    epoch         text not null,
    snapshot      pg_snapshot not null           -- everything visible in it has a position at or below `position`
);

-- The log is cut into segments, so that retention drops tables and never deletes rows.
create table rowcast.segment (
    segment        integer primary key,
    first_position bigint not null,
    opened_at      timestamptz not null default clock_timestamp()
);

create table rowcast.log (
    segment      integer not null,
    position     bigint not null,
    outbox_id    bigint not null,
    txid         xid8 not null,
    shape        integer not null,
    op           "char" not null,
    key          text,
    old_key      text,
    new          text[],
    old          text[],
    new_channels text[],
    old_channels text[],
    fault        text,
    size         integer not null,
    committed_at timestamptz not null,           -- the last capture of its transaction: the nearest to the commit that a trigger can know
    primary key (position, segment)
) partition by list (segment);

-- Cold replay finds a channel's positions here.
create table rowcast.log_channel (
    segment  integer not null,
    channel  text not null,
    position bigint not null,
    primary key (channel, position, segment)
) partition by list (segment);
