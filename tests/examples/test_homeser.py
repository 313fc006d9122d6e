"""The Django example: what its ORM writes reaches who may see it, and nothing in it knows that."""

import re
from pathlib import Path

import httpx2
import pytest

from streams.catalog import Catalog, load
from tests.examples.conftest import EXAMPLES, listening, manage, python, site
from tests.support.gateway import gateway
from tests.support.servers import Servers


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """What the example publishes."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "homeser"))
    return load("homeser.published")


async def ids(servers: Servers) -> dict[str, int]:
    """Returns the numbers of the sample people, and of a booking by ada with ines."""
    connection = await servers.connect()
    try:
        found = {row["username"]: row["id"] for row in await connection.fetch("select username, id from users")}
        found["booking"] = await connection.fetchval(
            "select min(id) from bookings where customer_id = $1 and provider_id = $2", found["ada"], found["ines"]
        )
    finally:
        await connection.close()
    return found


async def test_save(homeser: Servers, catalog: Catalog) -> None:
    """A `save()` reaches the booking's customer and provider with the row before and after, and no other customer."""
    who = await ids(homeser)
    async with (
        gateway(homeser, catalog=catalog) as web,
        web.stream("bookings", who["ada"]) as customer,
        web.stream("provider-bookings", who["ines"], role="provider") as provider,
        web.stream("bookings,services", who["ben"]) as other,
    ):
        for stream in (customer, provider, other):
            await stream.next()
        await manage(
            homeser,
            f"booking = Booking.objects.get(pk={who['booking']}); booking.status = 'confirmed'; booking.save();"
            " service = Service.objects.first(); service.name = 'the next'; service.save()",
        )
        for stream, name in ((customer, "bookings"), (provider, "provider-bookings")):
            (event,) = await stream.events(1)
            assert (event.name, event.data["type"], event.data["table"]) == (name, "UPDATE", "bookings")
            assert event.data["record"]["id"] == who["booking"]
            assert (event.data["old_record"]["status"], event.data["record"]["status"]) == ("pending", "confirmed")
        (event,) = await other.events(1)
        assert (event.name, event.data["record"]["name"]) == ("services", "the next")


async def test_rolled_back(homeser: Servers, catalog: Catalog) -> None:
    """What an atomic() block has written and rolled back reaches nobody; what a savepoint inside has, neither."""
    who = await ids(homeser)
    async with gateway(homeser, catalog=catalog) as web, web.stream("bookings,notifications", who["ada"]) as stream:
        await stream.next()
        await manage(
            homeser,
            f"""
from django.db import transaction
booking = Booking.objects.get(pk={who["booking"]})
try:
    with transaction.atomic():
        booking.notes = "never"
        booking.save()
        Notification.objects.create(user_id={who["ada"]}, kind="none", title="never")
        raise ValueError
except ValueError:
    pass
with transaction.atomic():
    try:
        with transaction.atomic():
            booking.notes = "nor this"
            booking.save()
            raise ValueError
    except ValueError:
        pass
    booking.notes = "kept"
    booking.save()
""",
        )
        (event,) = await stream.events(1)
        assert event.data["old_record"]["notes"] is None
        assert event.data["record"]["notes"] == "kept"


async def test_without_signals(homeser: Servers, catalog: Catalog) -> None:
    """What Django does without telling its signals arrives too: bulk_create, update, bulk_update, raw SQL, and delete."""
    who = await ids(homeser)
    async with gateway(homeser, catalog=catalog) as web, web.stream("bookings", who["ada"]) as stream:
        await stream.next()
        await manage(
            homeser,
            f"""
from django.db import connection
from django.db.models import signals
def told(**_): raise AssertionError("a signal")
signals.post_save.connect(told)
first = Booking.objects.get(pk={who["booking"]})
def copy(notes): return Booking(customer=first.customer, service=first.service, booking_date=first.booking_date,
    start_time=first.start_time, end_time=first.end_time, notes=notes)
Booking.objects.bulk_create([copy("a"), copy("b")])
mine = Booking.objects.filter(notes__in="ab").order_by("pk")
mine.update(status="confirmed")
both = list(mine)
for each in both: each.status = "cancelled"
Booking.objects.bulk_update(both, ["status"])
with connection.cursor() as cursor: cursor.execute("update bookings set status = 'completed' where notes = 'a'")
mine.delete()
""",
        )
        told = [(e.data["type"], (e.data["record"] or e.data["old_record"])) for e in await stream.events(9)]
        assert [(kind, row["notes"], row["status"]) for kind, row in told if row["notes"] == "a"] == [
            ("INSERT", "a", "pending"),
            ("UPDATE", "a", "confirmed"),
            ("UPDATE", "a", "cancelled"),
            ("UPDATE", "a", "completed"),
            ("DELETE", "a", "completed"),
        ]
        assert [kind for kind, row in told if row["notes"] == "b"] == ["INSERT", "UPDATE", "UPDATE", "DELETE"]


async def test_site(homeser: Servers, catalog: Catalog, tmp_path: Path) -> None:
    """A provider signs in, confirms a booking and cancels it; the customer's page loads, listens with its token, and is told."""
    who = await ids(homeser)
    password = re.search(r"password (\S+)", python("homeser", homeser, "manage.py", "sample"))
    assert password is not None
    async with (
        gateway(homeser, catalog=catalog) as web,
        site("homeser", homeser, tmp_path / "site.log") as base,
        httpx2.AsyncClient(base_url=base) as ada,
        httpx2.AsyncClient(base_url=base) as ines,
    ):
        for name, browser in (("ada", ada), ("ines", ines)):
            await browser.get("/accounts/login/")
            form = {"username": name, "password": password[1], "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            assert (await browser.post("/accounts/login/", data=form)).status_code == 302
        loaded = (await ada.get("/api/bookings")).json()["bookings"]
        assert {row["customer_id"] for row in loaded} == {who["ada"]}
        for answer in (await ada.get("/api/services"), await ada.post("/api/token", headers={"X-CSRFToken": ada.cookies["csrftoken"]})):
            assert answer.json()["id"] == str(who["ada"])
        paid = (await ada.get("/api/payments")).json()["payments"]
        assert {row["booking_id"] for row in paid} == {row["id"] for row in loaded}
        assert {type(row["amount"]) for row in paid} == {float}
        assert {row["username"] for row in (await ada.get("/api/people")).json()["people"]} == {"ada", "ines", "jonas"}
        assert (await ada.get("/api/users")).status_code == 404
        assert (await ada.get("/api/me")).json() == {
            "id": str(who["ada"]),
            "name": "ada",
            "role": "customer",
            "rowcast": "http://127.0.0.1:8000",
            "moves": {"pending": ["cancelled"], "confirmed": ["cancelled"], "in_progress": []},
        }
        assert (await ada.post("/api/token")).status_code == 403
        token = (await ada.post("/api/token", headers={"X-CSRFToken": ada.cookies["csrftoken"]})).json()["token"]
        csrf = {"X-CSRFToken": ines.cookies["csrftoken"]}
        path = f"/api/bookings/{who['booking']}"
        async with listening(web, "bookings,payments,notifications", token) as stream:
            assert (await ines.post(f"{path}/confirmed")).status_code == 403
            assert (await ines.post(f"{path}/confirmed", headers=csrf)).status_code == 204
            assert (await ines.post(f"{path}/confirmed", headers=csrf)).status_code == 409
            assert (await ines.post(f"{path}/cancelled", headers=csrf)).status_code == 204
            events = await stream.events(4)
        assert [event.name for event in events] == ["bookings", "notifications"] * 2
        assert [event.data["record"].get("status") for event in events] == ["confirmed", None, "cancelled", None]
        assert [event.data["record"].get("title") for event in events] == [None, "Booking confirmed", None, "Booking cancelled"]


async def test_signed_out(homeser: Servers, tmp_path: Path) -> None:
    """Who is not signed in is sent to where one signs in from the page, and refused by what its script asks."""
    async with site("homeser", homeser, tmp_path / "site.log") as base, httpx2.AsyncClient(base_url=base) as nobody:
        assert (await nobody.get("/")).headers["location"] == "/accounts/login/?next=/"
        door = await nobody.get("/accounts/login/")
        assert "connect-src 'self' http://127.0.0.1:8000;" in door.headers["content-security-policy"]
        for path in ("me", "bookings", "payments"):
            assert (await nobody.get(f"/api/{path}")).status_code == 401
        assert (await nobody.post("/api/token", headers={"X-CSRFToken": nobody.cookies["csrftoken"]})).status_code == 401


def test_publish_again(homeser: Servers) -> None:
    """The migrations are what the models say, and publishing again changes nothing."""
    python("homeser", homeser, "manage.py", "makemigrations", "--check", "--dry-run")
    assert "nothing to change" in python("homeser", homeser, "manage.py", "publish")


async def test_knows_nobody(homeser: Servers) -> None:
    """The site, with all its views, has loaded nothing of Rowcast and no Redis client."""
    loaded = await manage(
        homeser,
        "import sys, homeser.urls, marketplace.views, marketplace.admin;"
        " print([name for name in sys.modules if name.partition('.')[0] in ('auth', 'gateway', 'sql', 'streams', 'redis')])",
    )
    assert loaded.strip() == "[]"
