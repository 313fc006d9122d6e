"""What a row's values become: the same JSON whoever writes, digits kept, and names that nobody would choose."""

import json
from typing import Any

import sql
from gateway.migrator import Plan, migrate
from streams.catalog import Catalog
from streams.stream import Stream
from tests.sql.published import Published, declare, publishing
from tests.support.servers import MAX_BYTES, Servers

VALUES = {
    "float8": ("float8", "0.1::float8 + 0.2::float8", "0.30000000000000004"),
    "float4": ("float4", "16777217.5::float4", "1.6777218e+07"),
    "largest": ("float8", "1.7976931348623157e308", "1.7976931348623157e+308"),
    "not_a_number": ("float8", "'NaN'", '"NaN"'),
    "infinite": ("float8", "'-Infinity'", '"-Infinity"'),
    "long_number": ("numeric", "('1' || repeat('0', 1000) || '.10')::numeric", "1" + "0" * 1000 + ".10"),
    "numeric_nan": ("numeric", "'NaN'", '"NaN"'),
    "numeric_infinite": ("numeric", "'Infinity'", '"Infinity"'),
    "money": ("numeric(10, 2)", "79", "79.00"),
    "bytes": ("bytea", r"'\xdeadbeef'", r'"\\xdeadbeef"'),
    "moment": ("timestamptz", "'2026-05-04 03:02:01.5+02'", '"2026-05-04T01:02:01.5+00:00"'),
    "local_moment": ("timestamp", "'2026-05-04 03:02:01'", '"2026-05-04T03:02:01"'),
    "for_ever": ("timestamptz", "'infinity'", '"infinity"'),
    "day": ("date", "'2026-05-04'", '"2026-05-04"'),
    "hour": ("timetz", "'03:02:01+02'", '"03:02:01+02"'),
    "lasting": ("interval", "'1 year 2 days 03:04:05'", '"1 year 2 days 03:04:05"'),
    "moments": ("timestamptz[]", "array['2026-05-04 03:02:01+02'::timestamptz]", '["2026-05-04T01:02:01+00:00"]'),
    "stay": ("tstzrange", "tstzrange('2026-05-04 03:02:01+02', null)", r'"[\"2026-05-04 01:02:01+00\",)"'),
    "days": ("daterange", "daterange('2026-05-04', '2026-06-07')", '"[2026-05-04,2026-06-07)"'),
    "stays": ("tstzmultirange", "tstzmultirange(tstzrange('2026-05-04 03:02:01+02', null))", r'"{[\"2026-05-04 01:02:01+00\",)}"'),
    "zero": ("json", r"""'{"a":"\u0000"}'""", r'{"a":"\u0000"}'),
    "half": ("json", r"""'"\ud800"'""", r'"\ud800"'),
    "twice": ("json", """'{"a":1,"a":2.00}'""", '{"a":1,"a":2.00}'),
    "packed": ("jsonb", """'{"n":1.00,"long":12345678901234567890}'""", '{"n": 1.00, "long": 12345678901234567890}'),
    "lines": ("text", r"E'a\nb\r\t\"\\\u2028\x01'", '"a\\nb\\r\\t\\"\\\\\u2028\\u0001"'),
    "mood": ("mood", "'happy'", '"happy"'),
    "home": ("address", "row('Main St', 12.50)", '{"street":"Main St","number":12.50}'),
    "positive": ("positive", "7.10", "7.10"),
    "nothing": ("text", "null", "null"),
    "ip": ("inet", "'10.0.0.1/8'", '"10.0.0.1/8"'),
    "letters": ("char(4)", "'ab'", '"ab  "'),
    "flags": ("bit(3)", "'101'", '"101"'),
    "identity": ("uuid", "'7B1C0000-0000-0000-0000-000000000001'", '"7b1c0000-0000-0000-0000-000000000001"'),
}
TYPES = "create type public.mood as enum ('happy'); create type public.address as (street text, number numeric);"
DOMAIN = "create domain public.positive as numeric check (value > 0);"
SESSIONS = {
    "plain": "",
    "far away": "set timezone = 'Asia/Kathmandu'; set intervalstyle = 'sql_standard'; set datestyle = 'German'",
    "coarse": "set extra_float_digits = -15; set bytea_output = 'escape'; set datestyle = 'SQL, DMY'",
    "iso": "set intervalstyle = 'iso_8601'; set standard_conforming_strings = off; set quote_all_identifiers = on; set xmlbinary = hex",
    "strict": "set default_transaction_isolation = serializable; set row_security = off; set lc_monetary = 'C'; set jit = on",
}


async def test_values_are_the_same_whoever_writes(servers: Servers) -> None:
    """A value's JSON is what it should be, digit by digit, in whatever session it was written."""
    create = (
        TYPES
        + DOMAIN
        + "create table public.odd (id bigint primary key, {})".format(", ".join(f"{name} {type}" for name, (type, _, _) in VALUES.items()))
    )
    async with publishing(servers, create, declare("public.odd", " ".join(["id", *VALUES]))) as published:
        values = ", ".join(value for _, value, _ in VALUES.values())
        wrong = []
        for number, (session, settings) in enumerate(SESSIONS.items()):
            writer = await servers.connect()
            # What is stored does not depend on the writer, only its text could.
            await writer.execute(
                f"create temporary table source as select * from public.odd where false; insert into source values ({number}, {values})"
            )
            await writer.execute(settings or "select 1")
            await writer.execute("insert into public.odd select * from source")
            await writer.close()
            (change,) = await published.changes()
            assert change.fault is None
            expected = "{" + ",".join([f'"id":{number}', *(f'"{name}":{text}' for name, (_, _, text) in VALUES.items())]) + "}"
            assert change.new is not None
            wrong += [(session, change.new[0])] if change.new[0] != expected else []
            assert json.loads(change.new[0] or "").keys() == json.loads(expected).keys()
        assert {session: differences(text or "", VALUES) for session, text in wrong} == {}


def differences(text: str, values: dict[str, Any]) -> list[str]:
    """Names the values of a row whose text is not as it should be."""
    return [name for name, (_, _, expected) in values.items() if f'"{name}":{expected}' not in text]


ODD_NAME = '"Odd; drop"."T\'able"""'
ODD_TABLE = f"""
    create schema "Odd; drop";
    create table {ODD_NAME} ("Id" text, "two words" text, "na""me" text, "select" int, "{{shape}}" int, v text, k int, w int,
        j int, "new" int, v_new int, v_fault int, "ünï" text, "back\\slash" text, "or'" text, primary key ("Id", "two words"))
"""
ODD = Stream(
    name="odd",
    table="Odd; drop.T'able\"",
    columns=("Id", "two words", 'na"me', "select", "{shape}", "v", "k", "w", "j", "new", "v_new", "v_fault", "ünï", "back\\slash", "or'"),
    channel="odd-changes-{user_id}",
    owner='na"me',
    key=("Id", "two words"),
)
ODD_ROW: list[Any] = ['a"b\\\n', '{"x":1}', "own er", 1, 2, "v", 3, 4, 5, 6, 7, 8, "ü", "\\", "'"]


async def insert_odd(published: Published) -> None:
    places = ", ".join(f"${n}" for n in range(1, len(ODD_ROW) + 1))
    await published.connection.execute(f"insert into {ODD_NAME} values ({places})", *ODD_ROW)


async def test_odd_names(servers: Servers) -> None:
    """Schemas, tables, columns and keys of any name are captured, those too that we call ours by."""
    async with publishing(servers, ODD_TABLE, ODD) as published:
        await insert_odd(published)
        await published.execute(f"update {ODD_NAME} set \"Id\" = 'ü'", f"truncate {ODD_NAME}")
        (channel, inserted), (_, updated), truncated = await published.sent()
        assert channel == "odd-changes-own er"
        assert (inserted["schema"], inserted["table"]) == ("Odd; drop", "T'able\"")
        assert list(inserted["record"]) == [column["name"] for column in inserted["columns"]] == list(ODD.columns)
        assert list(inserted["record"].values()) == ODD_ROW
        assert (updated["old_record"]["Id"], updated["record"]["Id"]) == ('a"b\\\n', "ü")
        assert truncated == ("odd-changes", "truncated")


async def test_odd_keys(servers: Servers) -> None:
    """A key is JSON whatever its columns are called and whatever they hold."""
    async with publishing(servers, ODD_TABLE, ODD) as published:
        await insert_odd(published)
        await published.execute(f"update {ODD_NAME} set \"Id\" = ''")
        inserted, updated = await published.changes()
        assert json.loads(inserted.key or "") == {"Id": 'a"b\\\n', "two words": '{"x":1}'}
        assert (json.loads(updated.key or ""), updated.old_key) == ({"Id": "", "two words": '{"x":1}'}, inserted.key)


ALIKE = [
    ("public.a_b", "public_a.b"),
    ("s.t_u", "s_t.u"),
    ("public.x.y", "public.x_y"),
    ("public." + "ü" * 30 + "a", "public." + "ü" * 30 + "b"),
    ("public." + "𝒳" * 15 + "a", "public." + "𝒳" * 15 + "b"),
]


async def test_no_two_tables_share_a_trigger_function(servers: Servers) -> None:
    """Tables whose names run together are captured each as itself, and when one is no longer published the other is."""
    names = [name for pair in ALIKE for name in pair]
    quoted = ["{}.{}".format(*(sql.identifier(part) for part in name.split(".", 1))) for name in names]
    schemas = {name.split(".")[0] for name in names}
    create = "".join(f"create schema if not exists {schema};" for schema in schemas) + "".join(
        f"create table {name} (id bigint primary key);" for name in quoted
    )
    streams = [declare(name, "id", name=f"table-{letter}") for letter, name in zip("abcdefghij", names, strict=True)]
    async with publishing(servers, create, *streams) as published:
        await published.execute(*(f"insert into {name} values (1)" for name in quoted))
        assert [channel for channel, _ in await published.sent()] == [stream.broadcast for stream in streams]
        await migrate(published.connection, Plan(Catalog(streams[::2]), "armed", MAX_BYTES))
        await published.execute(*(f"insert into {name} values (2)" for name in quoted))
        assert [channel for channel, _ in await published.sent()] == [stream.broadcast for stream in streams[::2]]


async def test_control_characters_bound_the_entry(servers: Servers) -> None:
    """A text of control characters, six bytes each in JSON, is bounded as its JSON, or at most as six times its size."""
    create = "create table public.odd (id bigint primary key, body text)"
    async with publishing(servers, create, declare("public.odd", "id body"), max_bytes=10_000) as published:
        await published.execute(r"insert into odd values (1, repeat(E'\x01', 9000)), (2, repeat('x', 10001))")
        first, second = await published.changes()
        assert first.new is not None
        assert len(first.new[0] or "") < 6 * 10_000
        assert second.new == [None]


async def test_owner_that_nobody_can_be(servers: Servers) -> None:
    """An owner longer than any subject is nobody: the row is captured, reaches no channel, and stops nothing behind it."""
    create = "create table public.odd (id bigint primary key, owner text)"
    async with publishing(servers, create, declare("public.odd", "id", owner="owner")) as published:
        await published.execute(
            "insert into odd select 1, string_agg(md5(n::text), '') from generate_series(1, 1000) n",
            "insert into odd values (2, repeat('x', 128))",
            "update odd set owner = 'a' where id = 1",
        )
        assert [channel[:13] for channel, _ in await published.sent()] == ["odd-changes-x", "odd-changes-a"]
        assert published.position == 3
