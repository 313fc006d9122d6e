-- Streams whose owner another table names: feed number `feed` of a shape. Its functions are owner_<shape>_<feed> and
-- dependents_<shape>_<feed>; `broadcasts` are those of all the shape's feeds.
create table rowcast.via (
    shape      integer not null,
    feed       integer not null,
    broadcast  text not null,
    broadcasts text[] not null,
    primary key (shape, feed)
);
