"""Canaries: values that occur in one version of one row and nowhere else, so that whatever is received tells what was seen.

A statement is a template: `{bookings}` are a table's columns that a canary fits in, `{b1.bookings}` their values in version b1,
`{b1}` its text, `{b1.low}` and `{b1.high}` its numbers.
"""

import re
from collections.abc import Iterable
from datetime import date, timedelta

_FITTING = {
    "bookings": (
        "booking_date, start_time, end_time, notes",
        "timestamptz '{day} 08:00Z', timestamptz '{day} 09:00Z', timestamptz '{day} 10:00Z', {text}",
    ),
    "payments": ("amount, currency, method", "{low}, {text}, {text}"),
    "availability": ("day, start_time, end_time", "date '{day}', time '09:00', time '17:00'"),
    "notifications": ("kind, title, body", "{text}, {text}, {text}"),
    "services": ("name, description, category, price, duration_minutes", "{text}, {text}, {text}, {low}, {low}"),
    "properties": ("name, city, state, units, latitude, longitude", "{text}, {text}, {text}, {low}, {degree}, {degree}"),
    "property_alerts": ("kind, name, city, state", "'price', {text}, {text}, {text}"),
    "system_notices": ("title, body", "{text}, {text}"),
}
_TOLD = re.compile(r"Booking (\d+) (?:is (new)|went from \w+ to (\w+))")
"""What the examples' own triggers write: it occurs once for a booking, or for each of its statuses."""


class Version:
    """One version of a row; its attributes are SQL."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.low, self.high = 41_000_000 + number * 10_007, 71_000_000 + number * 10_007
        self._degree = f"{self.low // 10_000}.{self.low % 10_000:04}"
        self._day = str(date(2100, 1, 1) + timedelta(days=37 * number))
        self.values = (f"canary-{name}.", str(self.low), str(self.high), self._degree, self._day)

    def __str__(self) -> str:
        return f"'{self.values[0]}'"

    def __getattr__(self, table: str) -> str:
        if table not in _FITTING:
            raise AttributeError(table)
        return _FITTING[table][1].format(day=self._day, text=self, low=self.low, degree=self._degree)


class Canaries(dict[str, "Version | str"]):
    """The versions that a test's statements name; each is made when it is first named."""

    def __init__(self) -> None:
        super().__init__({table: columns for table, (columns, _) in _FITTING.items()})

    def __missing__(self, name: str) -> Version:
        version = self[name] = Version(name, len(self))
        return version

    def fill(self, template: str) -> str:
        """Returns the statement."""
        return template.format_map(self)

    def seen(self, text: str) -> list[str]:
        """Names the versions that a text carries a value of, in the order in which they were made."""
        versions = [each for each in self.values() if isinstance(each, Version)]
        told = sorted({f"{booking}-{status}" if status else f"new-{booking}" for booking, _, status in _TOLD.findall(text)})
        return [each.name for each in versions if any(value in text for value in each.values)] + told

    def named(self, lines: Iterable[str]) -> set[str]:
        """Returns the versions that lines of a table name: `UPDATE b1 → b2+b3`."""
        return {word for line in lines for word in re.split(r"[ +→]+", line)}
