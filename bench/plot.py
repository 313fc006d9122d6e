"""One picture of what the edge costs, beside its peers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_COLOURS = ("#0b5fff", "#9bbcff", "#6b7280", "#d97706", "#059669", "#b91c1c", "#7c3aed")
"""Rowcast first, then paler the same application without the hand-over, then the others."""


class Panel(NamedTuple):
    """Bars by server, in groups by what stands below them."""

    title: str
    groups: dict[str, dict[str, float]]
    decades: bool = False
    """Whether the servers lie so far apart that the axis must be logarithmic."""


def draw(results: dict[str, Any], path: Path) -> str | None:
    """Draws the tables of the edge and of own channels; returns what is missing for that, or None."""
    try:
        # Only `make bench` installs it.
        from matplotlib.figure import Figure
    except ImportError:
        return "matplotlib"
    panels = _panels(results["sections"])
    if not panels:
        return "the sections edge and apart"
    figure = Figure(figsize=(4.5 * len(panels), 4.5), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)
    servers = list(dict.fromkeys(server for panel in panels for group in panel.groups.values() for server in group))
    for axis, panel in zip(axes[0], panels, strict=True):
        _bars(axis, panel, servers)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=110)
    return None


def _panels(sections: dict[str, Any]) -> list[Panel]:
    panels: list[Panel] = []
    if "edge" in sections and (tables := sections["edge"]["tables"]):
        idle, events = tables
        for kind in ("trickle", "burst"):
            groups = _grouped(events, "connections", "CPU µs each", kind=kind)
            panels.append(Panel(f"CPU µs for a delivery, {kind}", groups, decades=kind == "burst"))
        panels.append(Panel("KB for an idle connection", _grouped(idle, "connections", "KB each")))
    if "apart" in sections and (tables := sections["apart"]["tables"]):
        panels.append(Panel("p99 in ms, everybody on a channel of their own", _grouped(tables[0], "users", "p99 ms")))
    return panels


def _grouped(table: dict[str, Any], group: str, figure: str, **only: str) -> dict[str, dict[str, float]]:
    groups: dict[str, dict[str, float]] = {}
    for cells in table["rows"]:
        row = dict(zip(table["columns"], cells, strict=True))
        if all(row[name] == value for name, value in only.items()):
            groups.setdefault(f"{row[group]:,.0f}", {})[row["server"]] = row[figure]
    return groups


def _bars(axis: Any, panel: Panel, servers: Sequence[str]) -> None:
    """Draws a panel."""
    width = 0.8 / len(servers)
    for number, server in enumerate(servers):
        places = [at + (number - (len(servers) - 1) / 2) * width for at, group in enumerate(panel.groups.values()) if server in group]
        values = [group[server] for group in panel.groups.values() if server in group]
        bars = axis.bar(places, values, width, label=server, color=_COLOURS[number % len(_COLOURS)])
        texts = [f"{value:.2f}" if value < 1 else f"{value:.0f}" for value in values]
        axis.bar_label(bars, labels=texts, fontsize=8 if len(panel.groups) == 1 else 6)
    if panel.decades:
        axis.set_yscale("log")
    axis.set_title(f"{panel.title} (logarithmic)" if panel.decades else panel.title, fontsize=11)
    axis.set_xticks(range(len(panel.groups)), [f"{name} connections" if len(panel.groups) == 1 else name for name in panel.groups])
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
