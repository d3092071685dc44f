"""The pictures of a validation as SVG text: intervals, percentiles under load, overlap.

Drawn on white, without script. Verdicts have a shape of their own beside their colour, and lines a
pattern, so that a print in grey says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import vl_convert

from qafila.report.charts import SCHEMA, VERDICT_COLOURS

MOST_INTERVALS = 40
_WIDTH = 460
_SHAPES = {"PASS": "circle", "FAIL": "square", "INCONCLUSIVE": "diamond", "ERROR": "cross"}
_ARMS = {"baseline": "#7f8c8d", "candidate": "#d68910"}
_DASHES = ([1, 0], [7, 3], [2, 3], [8, 3, 2, 3])
_STROKES = {"legend": {"symbolSize": 900}}  # long enough to see a pattern
_PERCENTILES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)
_LABEL = 42  # characters
_NEAREST = 1e-8
_TOP = 1 - 1e-6  # what lies above cannot be told from 1 in floating point any more


@dataclass(frozen=True)
class Interval:
    """A value with its interval and verdict, by name."""

    name: str
    value: float
    low: float
    high: float
    verdict: str


def interval(name: str, value: Any, low: Any, high: Any, verdict: Any) -> Interval | None:
    """Return an interval that can be drawn; None where an end of it was not measured."""
    if not all(_is_number(v) for v in (value, low, high)):
        return None
    known = verdict if verdict in VERDICT_COLOURS else "INCONCLUSIVE"
    return Interval(_line(name), float(value), float(low), float(high), known)


def draw_intervals(
    intervals: Iterable[Interval | None], title: str, limits: Sequence[tuple[str, Any]] = ()
) -> str | None:
    """Draw intervals below one another, in their order; None without one.

    ``limits`` are drawn across, dashed, with their names. Of many intervals those whose lower end
    is least are drawn, up to ``MOST_INTERVALS``.
    """
    known = [i for i in intervals if i is not None]
    if len(known) > MOST_INTERVALS:
        least = set(sorted(range(len(known)), key=lambda n: known[n].low)[:MOST_INTERVALS])
        known = [i for n, i in enumerate(known) if n in least]
    if not known:
        return None
    values = [
        {"name": name, "value": i.value, "low": i.low, "high": i.high, "verdict": i.verdict}
        for name, i in zip(_told_apart([i.name for i in known]), known, strict=True)
    ]
    seen = [v for v in VERDICT_COLOURS if any(i.verdict == v for i in known)]
    y = {
        "field": "name",
        "type": "nominal",
        "title": None,
        "sort": None,
        "axis": {"labelLimit": 0, "ticks": False, "domain": False, "labelPadding": 8},
    }
    x = {
        "type": "quantitative",
        "title": title,
        "scale": {"zero": False, "nice": True},
        "axis": {"tickCount": 6},
    }
    colour = _scale("verdict", seen, [VERDICT_COLOURS[v] for v in seen])
    shape = _scale("verdict", seen, [_SHAPES[v] for v in seen])
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rule", "strokeWidth": 3},
            "encoding": {
                "y": y,
                "x": {**x, "field": "low"},
                "x2": {"field": "high"},
                "color": colour,
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
            "encoding": {"y": y, "x": {**x, "field": "value"}, "color": colour, "shape": shape},
        },
    ]
    for said, at in limits:
        if _is_number(at):
            across = {"data": {"values": [{"at": float(at), "said": said}]}}
            layers.append(
                {
                    **across,
                    "mark": {"type": "rule", "strokeDash": [4, 4], "color": "#34495e"},
                    "encoding": {"x": {"field": "at", "type": "quantitative"}},
                }
            )
            layers.append(
                {
                    **across,
                    "mark": {
                        "type": "text",
                        "align": "center",
                        "baseline": "bottom",
                        "dy": -4,
                        "color": "#34495e",
                        "fontSize": 11,
                    },
                    "encoding": {
                        "x": {"field": "at", "type": "quantitative"},
                        "y": {"value": 0},
                        "text": {"field": "said"},
                    },
                }
            )
    return _svg({"data": {"values": values}, "layer": layers}, height={"step": 26})


def draw_percentiles(points: Sequence[Mapping[str, Any]], rates: Sequence[str]) -> str | None:
    """Draw latency over the percentile, as an HDR histogram is read: x is 1/(1 - share), log scale.

    Points have system, rate (a name out of ``rates``, in the order of the legend), share and ms.
    """
    values: list[dict[str, Any]] = [
        {
            "system": str(p["system"]),
            "rate": str(p["rate"]),
            "ms": float(p["ms"]),
            "beyond": 1 / (1 - float(p["share"])),
        }
        for p in points
        if _is_number(p.get("ms")) and _is_number(p.get("share")) and 0 <= p["share"] <= _TOP
    ]
    if not values:
        return None
    most = max(v["beyond"] for v in values)
    ticks = [1 / (1 - p) for p in _PERCENTILES if 1 / (1 - p) <= most * 1.01]
    times = [v["ms"] for v in values]
    wide = min(times) > 0 and max(times) > 40 * min(times)
    arms = [a for a in _ARMS if any(v["system"] == a for v in values)]
    encoding = {
        "x": {
            "field": "beyond",
            "type": "quantitative",
            "title": "percentile of the requests",
            "scale": {"type": "log", "domain": [1, most], "nice": False},
            "axis": {
                "values": ticks,
                "labelExpr": "format(100 - 100 / datum.value, '.6~g') + ' %'",
                "labelOverlap": "greedy",
                "labelSeparation": 4,
                "labelFlush": False,
            },
        },
        "y": {
            "field": "ms",
            "type": "quantitative",
            "title": "ms from when a request was due" + (", log scale" if wide else ""),
            "scale": {"type": "log", "nice": False} if wide else {"domainMin": 0},
            "axis": {"format": "~s"} if wide else {},
        },
        "color": {**_scale("system", arms, [_ARMS[a] for a in arms]), **_STROKES},
        "strokeDash": {
            **_scale("rate", rates, [_DASHES[n % len(_DASHES)] for n in range(len(rates))]),
            **_STROKES,
        },
    }
    return _svg(
        {
            "data": {"values": values},
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": encoding,
        },
        height=240,
    )


def draw_overlap(points: Sequence[Mapping[str, Any]], at_least: Any) -> str | None:
    """Draw the mean overlap with its bounds after each query; None without a point."""
    values = [
        {k: p[k] for k in ("queries", "mean", "low", "high")}
        for p in points
        if all(_is_number(p.get(k)) for k in ("queries", "mean", "low", "high"))
    ]
    if not values:
        return None
    x = {
        "field": "queries",
        "type": "quantitative",
        "title": "queries compared",
        "axis": {"tickMinStep": 1, "tickCount": 8, "format": "d"},
    }
    y = {"type": "quantitative", "title": "overlap of the first ten", "scale": {"domain": [0, 1]}}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "area", "opacity": 0.25, "color": "#2471a3"},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "line", "strokeWidth": 2, "color": "#2471a3"},
            "encoding": {"x": x, "y": {**y, "field": "mean"}},
        },
    ]
    if _is_number(at_least):
        layers.append(
            {
                "data": {"values": [{"at": float(at_least)}]},
                "mark": {"type": "rule", "strokeDash": [4, 4], "color": "#34495e"},
                "encoding": {"y": {"field": "at", "type": "quantitative"}},
            }
        )
    return _svg({"data": {"values": values}, "layer": layers}, height=160)


def draw_distances(points: Sequence[Mapping[str, Any]], tolerance: Any) -> str | None:
    """Draw distances (1 - cosine) over the share of a sample that is at most so far apart.

    None without a point. What is nearer than can be told in float32 is drawn at that distance.
    """
    values = [
        {"share": 100 * p["share"], "distance": max(float(p["distance"]), _NEAREST)}
        for p in points
        if _is_number(p.get("share")) and _is_number(p.get("distance"))
    ]
    if not values:
        return None
    y = {
        "type": "quantitative",
        "title": "1 − cosine, log scale",
        "scale": {"type": "log"},
        "axis": {"format": ".0e", "tickCount": 6},
    }
    x = {
        "field": "share",
        "type": "quantitative",
        "title": "% of the sample",
        "scale": {"domain": [0, 100]},
    }
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "line", "strokeWidth": 2, "color": "#2471a3", "point": {"size": 14}},
            "encoding": {"x": x, "y": {**y, "field": "distance"}},
        }
    ]
    if _is_number(tolerance) and tolerance > 0:
        layers.append(
            {
                "data": {"values": [{"at": float(tolerance)}]},
                "mark": {"type": "rule", "strokeDash": [4, 4], "color": "#34495e"},
                "encoding": {"y": {**y, "field": "at"}},
            }
        )
    return _svg({"data": {"values": values}, "layer": layers}, height=160)


def _svg(spec: Mapping[str, Any], *, height: Mapping[str, int] | int) -> str:
    config = {
        "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
        "legend": {"labelFontSize": 12, "orient": "bottom", "offset": 8, "labelLimit": 0},
        "view": {"stroke": None},
    }
    whole = {
        "$schema": SCHEMA,
        "background": "white",
        "width": _WIDTH,
        "height": height,
        "config": config,
        **spec,
    }
    return str(vl_convert.vegalite_to_svg(whole))


def _scale(field: str, domain: Sequence[str], shown: Sequence[Any]) -> dict[str, Any]:
    scale = {"domain": list(domain), "range": list(shown)}
    return {"field": field, "type": "nominal", "title": None, "scale": scale}


def _told_apart(names: Sequence[str]) -> list[str]:
    """Return the names, one that is there already with its place in the list."""
    seen: set[str] = set()
    told = []
    for n, name in enumerate(names, 1):
        told.append(name if name not in seen else f"{name} [{n}]")
        seen.add(told[-1])
    return told


def _line(name: str) -> str:
    """Return a name on one short line, without what no picture can show.

    Cut here and not by Vega, which cuts a letter outside the basic plane in two, and then fails.
    """
    shown = "".join(c if c.isprintable() else " " for c in " ".join(name.split())) or "–"
    return shown if len(shown) <= _LABEL else f"{shown[: _LABEL - 1]}…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
