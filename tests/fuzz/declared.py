"""The streams of the examples, and one of a table with a column of each type."""

from streams.availability import availability
from streams.bookings import bookings, provider_bookings
from streams.notifications import notifications
from streams.payments import payments
from streams.properties import properties, property_alerts
from streams.services import services
from streams.stream import Stream
from streams.system import changes, system

__all__ = [
    "availability",
    "bookings",
    "changes",
    "notifications",
    "odd",
    "payments",
    "properties",
    "property_alerts",
    "provider_bookings",
    "services",
    "system",
]

TYPES = {
    "flag": "bool",
    "small": "int2",
    "whole": "int4",
    "long": "int8",
    "object": "oid",
    "exact": "numeric",
    "fixed": "numeric(20, 5)",
    "single": "float4",
    "double": "float8",
    "letters": "text",
    "some": "varchar(20)",
    "padded": "char(4)",
    "label": "name",
    "bytes": "bytea",
    "day": "date",
    "hour": "time",
    "hour_there": "timetz",
    "moment": "timestamp",
    "moment_there": "timestamptz",
    "lasting": "interval",
    "identity": "uuid",
    "doc": "json",
    "packed": "jsonb",
    "host": "inet",
    "net": "cidr",
    "card": "macaddr",
    "bits": "bit(3)",
    "more_bits": "varbit",
    "cash": "money",
    "place": "point",
    "words": "tsvector",
    "span": "int4range",
    "stay": "tstzrange",
    "stays": "int8multirange",
    "texts": "text[]",
    "wholes": "int4[]",
    "exacts": "numeric[]",
    "docs": "json[]",
    "moments": "timestamptz[]",
    "moods": "mood[]",
    "mood": "mood",
    "positive": "positive",
    "address": "address",
}
"""Every type that a row may have, by column."""
CREATE = f"""
    create type public.mood as enum ('happy', 'so-so', E'it\\'s "odd", \\\\ really');
    create type public.address as (street text, number numeric);
    create domain public.positive as numeric check (value > 0);
    create table public.twin (
        id bigint primary key,
        {", ".join(f'"{name}" {type}' for name, type in TYPES.items())},
        doubled numeric generated always as (exact * 2) stored
    );
    create table public.odd (like public.twin including all);
    grant select on public.odd to authenticated;
"""
"""`twin` has no trigger: what it takes is a row, whoever listens."""
COLUMNS = ("id", *TYPES, "doubled")

odd = Stream(name="odd", table="public.odd", columns=COLUMNS, channel="odd-changes")
