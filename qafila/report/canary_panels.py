"""The panels of a rollout's timeline as parts of a Vega-Lite picture, one above the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import Any

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
WIDTH, HEIGHT = 640, 90
_LANE = 13
_E_LABEL = "format(datum.value, datum.value < 1000 ? '~g' : '~s')"

Styles = Mapping[str, tuple[str, list[int]]]
Points = Sequence[Mapping[str, Any]]

KINDS: Styles = {
    "errors": ("#c0392b", [1, 0]),
    "latency": ("#b9770e", [7, 3]),
    "empty": ("#7d3c98", [2, 3]),
    "ungrounded": ("#1f618d", [8, 3, 2, 3]),
    "over_budget": ("#117864", [4, 2]),
    "flagged": ("#7b241c", [10, 2]),
    "tenant": ("#34495e", [4, 1, 1, 1]),
}
"""Every kind of bad answer by name, and the test for harm to one tenant: colour and pattern."""
PROOFS: Styles = {"fine": ("#1e8449", [1, 0]), "under": ("#2471a3", [6, 3])}
WEIGHTS: Styles = {
    "seen": ("#d68910", [1, 0]),
    "asked": ("#1c2430", [1, 0]),
    "acknowledged": ("#2471a3", [3, 4]),
}
MOMENTS = {"step": "#5b6675", "person": "#2471a3", "back": "#c0392b", "through": "#1e8449"}


@dataclass(frozen=True)
class Clock:
    """Where a time stands on the axis, in ``unit`` since ``start``; ``end`` is the last one."""

    start: datetime
    end: float
    unit: str
    seconds: float

    @classmethod
    def of(cls, times: Sequence[datetime], start: datetime | None = None) -> Clock:
        """Return the clock over these times; an hour of 1970 where there is none."""
        if not times:
            return cls(datetime(1970, 1, 1, tzinfo=UTC), 1.0, "seconds", 1.0)
        begin = min(times) if start is None else start
        lasted = max((max(times) - begin).total_seconds(), 1.0)
        unit, seconds = "seconds", 1.0
        if lasted > 300:
            unit, seconds = ("minutes", 60.0) if lasted <= 4 * 3600 else ("hours", 3600.0)
        return cls(begin, lasted / seconds, unit, seconds)

    def x(self, at: datetime) -> float:
        """Return a time's place."""
        return (at - self.start).total_seconds() / self.seconds

    def axis(self, *, shown: bool = False) -> dict[str, Any]:
        """Return the encoding of ``x``; shown once, below the last panel."""
        title = f"{self.unit} since {self.start.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return {
            "field": "x",
            "type": "quantitative",
            "title": title if shown else None,
            "scale": {"domain": [0, self.end], "nice": False},
            "axis": {"labels": shown, "ticks": shown, "tickCount": 8, "grid": False},
        }


def stacked(title: str, panels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the whole picture of these panels."""
    return {
        "$schema": SCHEMA,
        "title": {"text": one_line(title), "anchor": "start", "fontSize": 14},
        "background": "white",
        "spacing": 12,
        "resolve": {"scale": {"color": "independent", "strokeDash": "independent"}},
        "config": {
            "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"},
            "axisY": {"minExtent": 34, "titlePadding": 6},
            "legend": {"labelFontSize": 12, "title": None, "rowPadding": 1},
            "view": {"stroke": "#d9dee5"},
        },
        "vconcat": list(panels),
    }


def moments_panel(marks: Points, clock: Clock) -> dict[str, Any]:
    """Return the labels of what happened; marks have x, lane, label, kind, left (its side)."""
    lanes = 1 + max(m["lane"] for m in marks)
    y = {
        "field": "lane",
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [lanes - 0.5, -0.5], "nice": False, "zero": False},
    }
    labels = [
        {
            "transform": [{"filter": f"datum.left == {str(left).lower()}"}],
            "mark": {
                "type": "text",
                "align": "left" if left else "right",
                "dx": 3 if left else -3,
                "fontSize": 11,
                "baseline": "middle",
            },
            "encoding": {
                "x": clock.axis(),
                "y": y,
                "text": {"field": "label"},
                "color": _moment_colour(),
            },
        }
        for left in (True, False)
        if any(m["left"] is left for m in marks)
    ]
    down = {
        "mark": {"type": "rule", "strokeWidth": 1},
        "encoding": {
            "x": clock.axis(),
            "y": y,
            "y2": {"value": lanes * _LANE},
            "color": _moment_colour(),
        },
    }
    return {
        **_size(lanes * _LANE),
        "view": {"stroke": None},
        "data": {"values": list(marks)},
        "layer": [down, *labels],
    }


def weights_panel(points: Points, marks: Points, bands: Points, clock: Clock) -> dict[str, Any]:
    """Return the weight as asked, acknowledged and seen, over moments and holds."""
    layers = []
    if bands:
        layers.append(
            {
                "data": {"values": list(bands)},
                "mark": {"type": "rect", "color": "#d9dee5", "opacity": 0.7, "clip": True},
                "encoding": {"x": clock.axis(), "x2": {"field": "x2"}},
            }
        )
    if marks:
        layers.append(
            {
                "data": {"values": list(marks)},
                "mark": {"type": "rule", "strokeWidth": 1, "opacity": 0.45},
                "encoding": {"x": clock.axis(), "color": _moment_colour()},
            }
        )
    y = {
        "field": "percent",
        "type": "quantitative",
        "title": "% on canary",
        "scale": {"domain": [0, 100]},
        "axis": {"tickCount": 4, "grid": True},
    }
    used = [p["what"] for p in points]
    first = ("seen",)  # what was asked is drawn over it
    lines = [
        _lines(
            [p for p in points if (p["what"] in first) is under],
            y,
            WEIGHTS,
            clock,
            used=used,
            interpolate="step-after",
        )
        for under in (True, False)
    ]
    return {
        **_size(HEIGHT),
        "resolve": {"scale": {"color": "independent", "strokeDash": "independent"}},
        "layer": [*layers, {"layer": lines}],
    }


def bad_panel(
    bars: Points, title: str, kinds: Sequence[str], width: int, clock: Clock, *, named: bool
) -> dict[str, Any]:
    """Return bad answers of one arm, stacked by kind; ``named``: with the legend of kinds."""
    highest: dict[float, float] = {}
    for bar in bars:
        highest[bar["x"]] = highest.get(bar["x"], 0) + bar["bad"]
    top = max([1.0, *highest.values()])
    y = {
        "field": "bad",
        "type": "quantitative",
        "title": title,
        "stack": "zero",
        "scale": {"domain": [0, top], "nice": False},
        "axis": {"values": [0, top], "format": "~s"},
    }
    colour = _styled(KINDS, kinds)["color"]
    colour["legend"] = {"symbolSize": 90} if named and kinds else None
    return {
        **_size(HEIGHT // 2),
        "data": {"values": [{**b, "what": _said(b["what"])} for b in bars]},
        "mark": {"type": "bar", "size": width, "clip": True},
        "encoding": {"x": clock.axis(), "y": y, "color": colour},
    }


def evidence_panel(
    points: Points,
    title: str,
    styles: Styles,
    limits: Sequence[tuple[str, float]],
    clock: Clock,
    *,
    last: bool,
) -> dict[str, Any]:
    """Return e-values on a logarithmic scale with named thresholds, dashed."""
    low = min([0.5, *(p["E"] for p in points)])
    high = max([8 * max(limit for _, limit in limits), *(2 * p["E"] for p in points)])
    decades = [10.0**n for n in range(floor(log10(low)) + 1, floor(log10(high)) + 1)]
    y = {
        "field": "E",
        "type": "quantitative",
        "title": title,
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {"values": decades[:: ceil(len(decades) / 5)], "labelExpr": _E_LABEL, "grid": True},
    }
    across = {"data": {"values": [{"E": limit, "said": said} for said, limit in limits]}}
    rule = {"type": "rule", "strokeDash": [4, 4], "color": "#34495e"}
    said = {"type": "text", "align": "left", "dx": 4, "dy": -6, "color": "#34495e", "fontSize": 11}
    lines = _lines(points, y, styles, clock)
    lines["encoding"]["x"] = clock.axis(shown=last)
    return {
        **_size(HEIGHT),
        "layer": [
            lines,
            {**across, "mark": rule, "encoding": {"y": y}},
            {
                **across,
                "mark": said,
                "encoding": {"y": y, "x": {"value": 0}, "text": {"field": "said"}},
            },
        ],
    }


def _size(height: int) -> dict[str, Any]:
    return {"width": WIDTH, "height": height}


def _lines(
    points: Points,
    y: Mapping[str, Any],
    styles: Styles,
    clock: Clock,
    *,
    used: Iterable[str] | None = None,
    **mark: Any,
) -> dict[str, Any]:
    return {
        "data": {"values": [{**p, "what": _said(p["what"])} for p in points]},
        "mark": {"type": "line", "strokeWidth": 2, "clip": True, **mark},
        "encoding": {
            "x": clock.axis(),
            "y": y,
            **_styled(styles, used or [p["what"] for p in points], {"symbolSize": 600}),
        },
    }


def _styled(
    styles: Styles, used: Iterable[str], legend: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return colour and pattern by name, for those that are used."""
    seen = set(used)
    names = [n for n in styles if n in seen]
    each: dict[str, Any] = {"field": "what", "type": "nominal", "title": None}
    if legend is not None:
        each["legend"] = legend if names else None
    shown = [_said(n) for n in names]
    return {
        channel: {**each, "scale": {"domain": shown, "range": [styles[n][part] for n in names]}}
        for part, channel in enumerate(("color", "strokeDash"))
    }


def _moment_colour() -> dict[str, Any]:
    scale = {"domain": list(MOMENTS), "range": list(MOMENTS.values())}
    return {"field": "kind", "type": "nominal", "legend": None, "scale": scale}


def _said(name: str) -> str:
    return name.replace("_", " ")


def one_line(name: str) -> str:
    """Return a name on one line, without what no picture can show."""
    shown = "".join(c if c.isprintable() else " " for c in " ".join(name.split())) or "–"
    return shown if len(shown) <= 90 else f"{shown[:89]}…"
