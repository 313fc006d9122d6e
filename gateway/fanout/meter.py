"""What is counted: connections, events, resumes, endings, and how far behind the bridge is.

- Labels are bounded: streams, reasons, kinds. Never a user.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from gateway.fanout.subscriber import Subscriber

ENDINGS = ("shutdown", "slow", "expired", "revoked", "forbidden", "max-age", "unavailable", "admin", "gone")
"""Why a stream ends: the list is closed. All but `gone`, where the client went away, are announced."""
CLOSING = frozenset({"expired", "revoked", "forbidden"})
"""After these nobody is to come back with that token."""


@dataclass(frozen=True, slots=True)
class _OfStream:
    """The metrics that are kept by stream, of one."""

    subscriptions: Gauge
    events: Counter
    deliveries: Counter


class Meter:
    """The metrics of one web process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._connections = Gauge("rowcast_connections", "Open streams", registry=self.registry)
        self._subscriptions = Gauge(
            "rowcast_subscriptions", "Open streams by name; one connection may have several", ["stream"], registry=self.registry
        )
        self._connects = Counter("rowcast_connects", "Streams opened", registry=self.registry)
        self._events = Counter("rowcast_events", "Events that arrived from the bridge", ["stream"], registry=self.registry)
        self._deliveries = Counter("rowcast_deliveries", "Events offered to subscribers", ["stream"], registry=self.registry)
        self._streams: dict[str, _OfStream] = {}
        self._resumes = Counter("rowcast_resumes", "How streams began: fresh, redis, postgres, reset", ["kind"], registry=self.registry)
        self._snapshots = Counter("rowcast_snapshots", "Snapshots sent", registry=self.registry)
        self._catch_ups = Counter(
            "rowcast_catch_ups", "Times a live stream could not take what came, and went on from the log", registry=self.registry
        )
        self._endings = Counter("rowcast_endings", "Why streams ended", ["reason"], registry=self.registry)
        for reason in ENDINGS:
            self._endings.labels(reason)
        self._repairs = Counter("rowcast_repairs", "Times the tail may have missed something and read the log", registry=self.registry)
        self._refusals = Counter("rowcast_refusals", "Requests refused, by status", ["status"], registry=self.registry)
        self._components = Gauge(
            "rowcast_component_up",
            "Whether bridge, redis, postgres are up, as this process sees them",
            ["component"],
            registry=self.registry,
        )
        self.tasks = Gauge("rowcast_tasks", "Tasks of the event loop: few, for an open stream has none", registry=self.registry)
        self.lag_positions = Gauge(
            "rowcast_bridge_lag_positions", "Positions in Postgres that Redis does not have yet", registry=self.registry
        )
        self.lag_seconds = Gauge(
            "rowcast_bridge_lag_seconds", "Age of the oldest such position, or of the bridge's silence", registry=self.registry
        )

    def component(self, name: str, up: bool) -> None:
        self._components.labels(name).set(up)

    def connected(self, subscriber: Subscriber) -> None:
        self._connections.inc()
        self._connects.inc()
        for stream in subscriber.streams:
            self._of(stream.name).subscriptions.inc()

    def disconnected(self, subscriber: Subscriber) -> None:
        self._connections.dec()
        for stream in subscriber.streams:
            self._of(stream.name).subscriptions.dec()

    def delivered(self, stream: str, events: int, subscribers: int) -> None:
        each = self._of(stream)
        each.events.inc(events)
        each.deliveries.inc(events * subscribers)

    def _of(self, stream: str) -> _OfStream:
        # Looking labels up each time was a third of what fanning an event out to one subscriber cost.
        each = self._streams.get(stream)
        if each is None:
            each = self._streams[stream] = _OfStream(
                self._subscriptions.labels(stream), self._events.labels(stream), self._deliveries.labels(stream)
            )
        return each

    def resumed(self, kind: str) -> None:
        self._resumes.labels(kind).inc()

    def snapshot(self) -> None:
        self._snapshots.inc()

    def fell_behind(self) -> None:
        self._catch_ups.inc()

    def ended(self, reason: str) -> None:
        self._endings.labels(reason).inc()

    def repaired(self) -> None:
        self._repairs.inc()

    def refused(self, status: int) -> None:
        self._refusals.labels(str(status)).inc()

    def render(self) -> bytes:
        """Returns the Prometheus text."""
        return generate_latest(self.registry)
