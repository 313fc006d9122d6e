"""What the bench publishes: one table like bookings, one stream for everybody. Its twin `bench_plain` is published by nobody."""

from streams.stream import Stream

ROWS = 10_000
TABLE = f"""
create table public.bench_booking (
    id           bigint primary key,
    customer_id  bigint not null,
    provider_id  bigint not null,
    service_id   bigint not null,
    booking_date timestamptz not null default now(),
    start_time   timestamptz not null default now(),
    end_time     timestamptz not null default now() + interval '2 hours',
    status       text not null default 'pending',
    notes        text not null default 'Ring twice',
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now()
) with (fillfactor = 70);
create table public.bench_plain (like public.bench_booking including all) with (fillfactor = 70);
insert into public.bench_booking (id, customer_id, provider_id, service_id)
select id, id % 500, id % 50, id % 6 from generate_series(1, {ROWS}) id;
insert into public.bench_plain select * from public.bench_booking;
"""

booking = Stream(
    name="bench",
    table="public.bench_booking",
    columns=(
        "id",
        "customer_id",
        "provider_id",
        "service_id",
        "booking_date",
        "start_time",
        "end_time",
        "status",
        "notes",
        "created_at",
        "updated_at",
    ),
    channel="bench-changes",
)
