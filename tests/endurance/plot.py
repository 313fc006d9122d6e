"""One picture of a soak: small panels over time, the phases behind them, and for each part the bound of its end."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

from tests.endurance.figures import BASELINE, CALM, CHURN, WARM_UP, Figure, Row, Sample

_COLOURS = {
    "web 1": "#0b5fff",
    "web 2": "#7c3aed",
    "bridge 1": "#d97706",
    "bridge 2": "#b45309",
    "valkey": "#b91c1c",
    "postgres": "#059669",
    "all": "#374151",
}
_OTHER = "#6b7280"
_PHASES = {WARM_UP: "#f3f4f6", BASELINE: "#dcfce7", CHURN: "#fef3c7", CALM: "#dcfce7"}
_WIDTH, _PANELS_IN_A_ROW = 4.4, 4
_SHARE = 2.5
"""A bound that lies further above everything is not drawn: it would press all else to the ground."""


class Panel(NamedTuple):
    """Figures by name, in one frame; a second one has dashes, and, where it is `apart`, an axis of its own."""

    title: str
    names: Sequence[str]
    apart: bool = False


_PANELS = (
    Panel("clients; dashed, at the right, changes a second", ("clients", "changes"), apart=True),
    Panel("resident memory, MB", ("rss",)),
    Panel("private memory; dashed, all of Postgres, MB", ("private", "postgres")),
    Panel("file descriptors, pools apart", ("fds",)),
    Panel("asyncio tasks", ("tasks",)),
    Panel("threads", ("threads",)),
    Panel("open streams, as told", ("connections",)),
    Panel("send queues, KB", ("queued",)),
    Panel("Redis: logs; dashed, all else, MB", ("logs", "redis")),
    Panel("Redis: keys beside logs; dashed, logs", ("keys", "channel logs")),
    Panel("channels with a subscription", ("channels",)),
    Panel("connections in pools", ("pooled",)),
    Panel("Postgres: backends; dashed, locks", ("backends", "locks")),
    Panel("oldest xmin, in transactions", ("horizon",)),
    Panel("segments of the log", ("segments",)),
    Panel("outbox; dashed, log, MB", ("outbox", "log")),
)
_DASHES = ("-", (0, (4, 1.5)))


def draw(samples: Sequence[Sample], rows: Sequence[Row], known: dict[str, Figure], title: str, path: Path) -> str | None:
    """Draws what is there; returns what is missing for that, or None."""
    try:
        # Only the extra `bench` installs it.
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        return "matplotlib: pip install 'rowcast[bench]'"
    lines = -(-len(_PANELS) // _PANELS_IN_A_ROW)
    canvas = Canvas(figsize=(_WIDTH * _PANELS_IN_A_ROW, 2.6 * lines + 1), layout="constrained")
    axes = canvas.subplots(lines, _PANELS_IN_A_ROW, squeeze=False).flatten()
    for axis, panel in zip(axes, _PANELS, strict=True):
        _draw(axis, panel, samples, [row for row in rows if row.name in panel.names])
    for axis in axes[:-_PANELS_IN_A_ROW]:
        axis.tick_params(labelbottom=False)
    for axis in axes[-_PANELS_IN_A_ROW:]:
        axis.set_xlabel("minutes", fontsize=8)
    _legend(canvas, samples)
    canvas.suptitle(title, fontsize=13, fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=110)
    return None


def _draw(axis: Any, panel: Panel, samples: Sequence[Sample], rows: Sequence[Row]) -> None:
    highest = 0.0
    for number, (name, dash) in enumerate(zip(panel.names, _DASHES, strict=False)):
        frame = axis.twinx() if number and panel.apart else axis
        for part in dict.fromkeys(part for sample in samples for part in sample.values.get(name, ())):
            there = [(sample.at / 60, sample.values[name][part]) for sample in samples if part in sample.values.get(name, ())]
            highest = max(highest, *(value for _, value in there)) if frame is axis else highest
            frame.plot(*zip(*there, strict=True), color=_COLOURS.get(part, _OTHER), linewidth=1.1, linestyle=dash)
        if frame is not axis:
            _tidy(frame, highest=1)
    for row in rows:
        if row.bound is not None and not isnan(row.end) and row.bound.limit(row.baseline) <= _SHARE * max(highest, 1):
            axis.axhline(row.bound.limit(row.baseline), color=_COLOURS.get(row.part, _OTHER), linewidth=0.8, linestyle=":", alpha=0.8)
    for start, end, phase in _spans(samples):
        axis.axvspan(start, end, color=_PHASES.get(phase, "white"), linewidth=0, zorder=0)
    judged = [row.well for row in rows if row.well is not None]
    mark, colour = ("", "black") if not judged else ("  ✓", "#15803d") if all(judged) else ("  ✗ broken", "#b91c1c")
    axis.set_title(panel.title + mark, fontsize=9, color=colour, loc="left")
    axis.grid(axis="y", alpha=0.4, linewidth=0.5)
    axis.set_axisbelow(True)
    _tidy(axis, highest)


def _tidy(axis: Any, highest: float) -> None:
    axis.set_ylim(bottom=0, top=None if highest else 1)
    axis.margins(x=0)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _spans(samples: Sequence[Sample]) -> list[tuple[float, float, str]]:
    """Returns from when to when each phase was, in minutes."""
    found: list[tuple[float, float, str]] = []
    for sample in samples:
        at = sample.at / 60
        if found and found[-1][2] == sample.phase:
            found[-1] = (found[-1][0], at, sample.phase)
        else:
            found.append((found[-1][1] if found else at, at, sample.phase))
    return found


def _legend(canvas: Any, samples: Sequence[Sample]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    parts = {part for sample in samples for values in sample.values.values() for part in values}
    lines = [Line2D([], [], color=colour, label=part) for part, colour in _COLOURS.items() if part in parts]
    lines.append(Line2D([], [], color=_OTHER, linestyle=_DASHES[1], label="the second of a panel"))
    lines.append(Line2D([], [], color=_OTHER, linestyle=":", label="bound of the end"))
    phases = [Patch(color=_PHASES[phase], label=phase) for phase in (WARM_UP, CHURN)]
    phases.append(Patch(color=_PHASES[BASELINE], label=f"{BASELINE}, {CALM}"))
    canvas.legend(handles=[*lines, *phases], loc="outside lower center", ncols=len(lines) + len(phases), frameon=False, fontsize=8)
