"""The property listings: what the site's forms write reaches the rooms that it concerns, and saved searches alert."""

from importlib import import_module
from pathlib import Path

import httpx2
import pytest
from starlette.requests import Request

from streams.catalog import Catalog, load
from tests.examples.conftest import EXAMPLES, listening, site
from tests.support.gateway import gateway
from tests.support.servers import Servers

OAK_VIEW = {"name": "Oak View", "city": "Austin", "state": "TX", "price": 12_500_000, "units": 120}


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """What the example publishes."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "acquire"))
    return load("acquire.published")


async def test_site(acquire: Servers, catalog: Catalog, tmp_path: Path) -> None:
    """A listing is added, changed and removed: its city's room is told, another city's is not, a saved search is alerted."""
    async with (
        gateway(acquire, catalog=catalog) as web,
        site("acquire", acquire, tmp_path / "site.log") as base,
        httpx2.AsyncClient(base_url=base) as visitor,
    ):
        who = (await visitor.get("/api/visitor")).json()
        assert who["rowcast"] == "http://127.0.0.1:8000"
        assert {"city": "Austin", "state": "TX"} in who["places"]
        assert (await visitor.get("/api/visitor")).json()["id"] == who["id"] == (await visitor.post("/api/token")).json()["id"]
        await visitor.post("/api/searches", json={"city": "Austin", "max_price": 13_000_000})
        await visitor.post("/api/searches", json={"state": "OR", "min_units": 10})
        saved, forgotten = (await visitor.get("/api/searches")).json()
        assert (saved["city"], saved["max_price"], forgotten["state"], forgotten["min_units"]) == ("Austin", 13_000_000, "OR", 10)
        assert (await visitor.delete(f"/api/searches/{forgotten['id']}")).status_code == 204
        assert [each["id"] for each in (await visitor.get("/api/searches")).json()] == [saved["id"]]
        token = (await visitor.post("/api/token")).json()["token"]
        async with (
            listening(web, "properties,property-alerts?snapshot=1&properties.city=eq.Austin", token) as room,
            listening(web, "properties?city=eq.Dallas", token) as other,
        ):
            for name, cities in (("properties", {"Austin"}), ("property-alerts", set())):
                page = await room.next()
                assert (page.name, page.data["stream"], page.data["done"]) == ("snapshot", name, True)
                assert {row["city"] for row in page.data["rows"]} == cities
            number = (await visitor.post("/api/listings", json=OAK_VIEW)).json()["id"]
            assert (await visitor.patch(f"/api/listings/{number}", json={"status": "pending", "price": 9_800_000})).status_code == 204
            assert (await visitor.delete(f"/api/listings/{number}")).status_code == 204
            assert (await visitor.delete(f"/api/listings/{number}")).status_code == 404
            events = await room.events(5)
            await visitor.post("/api/listings", json=OAK_VIEW | {"city": "Dallas"})
            (elsewhere,) = await other.events(1)
    assert (elsewhere.name, elsewhere.data["city"]) == ("property-created", "Dallas")
    of_listing = [event for event in events if event.name != "property-alert"]
    assert [event.name for event in of_listing] == ["property-created", "property-updated", "property-deleted"]
    assert {event.data["property_id"] for event in of_listing} == {number}
    created, updated, deleted = (event.data for event in of_listing)
    assert {name: created[name] for name in OAK_VIEW} == OAK_VIEW
    assert created["status"] == "available"
    assert updated["changes"] == {"status": {"old": "available", "new": "pending"}, "price": {"old": 12_500_000, "new": 9_800_000}}
    assert "left" not in deleted
    alerts = [event.data["record"] for event in events if event.name == "property-alert"]
    assert [(alert["kind"], alert["old_price"]) for alert in alerts] == [("created", None), ("status", 12_500_000)]


async def test_refused(acquire: Servers, tmp_path: Path) -> None:
    """A form that makes no sense is a 400 that says why, who is no visitor gets no token, and nobody forgets another's search."""
    async with (
        site("acquire", acquire, tmp_path / "site.log") as base,
        httpx2.AsyncClient(base_url=base) as visitor,
    ):
        refused = await visitor.post("/api/listings", json=OAK_VIEW | {"price": -1})
        assert (refused.status_code, refused.text.partition(":")[0]) == (400, "price")
        for name in ("name", "city"):
            refused = await visitor.post("/api/listings", json=OAK_VIEW | {name: "Oak\0View"})
            assert (refused.status_code, refused.text.partition(":")[0]) == (400, name)
        assert (await visitor.post("/api/token")).status_code == 401
        connection = await acquire.connect()
        others = await connection.fetchval("select min(id) from saved_searches")
        await connection.close()
        await visitor.get("/api/visitor")
        assert (await visitor.post("/api/token")).json()["expires_in"] == 600
        refused = await visitor.post("/api/searches", json={"city": "\0"})
        assert (refused.status_code, refused.text.partition(":")[0]) == (400, "city")
        for number in (others, 10**30, "none", "%00"):
            assert (await visitor.delete(f"/api/searches/{number}")).status_code == 404


async def test_not_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A page that is not there says how to get it."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "acquire"))
    app = import_module("acquire.app")
    monkeypatch.setattr(app, "_PAGE", tmp_path)
    answer = await app.page(Request({"type": "http"}))
    assert (answer.status_code, b"python examples/build.py" in answer.body) == (503, True)
