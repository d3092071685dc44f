"""The report's pictures as data addresses: a picture in an ``img`` runs nothing and loads nothing.

All are drawn on white, so that they read the same on a screen, at night and on paper.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import vl_convert

from qafila.inspect.observed import Norms
from qafila.report import rollout_story
from qafila.report.facts import Facts
from qafila.report.rung_extra import plain

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
VERDICT_COLOURS = {
    "PASS": "#1e8449",
    "FAIL": "#c0392b",
    "INCONCLUSIVE": "#b7791f",
    "ERROR": "#6c3483",
}


def timeline(facts: Facts) -> str | None:
    """Return the newest rollout's timeline; None when the judge never looked."""
    drawn = None if facts.rollout is None else rollout_story.timeline(facts.rollout)
    return None if drawn is None else as_address(drawn)


def quality_intervals(
    paired: Mapping[str, Mapping[str, Any]], verdicts: Mapping[str, str], least: float
) -> str | None:
    """Draw each system's gain in nDCG@10 over the baseline with its interval; None without one."""
    rows = [
        {
            "system": plain(name),
            "delta": pair["delta"],
            "low": pair["ci_low"],
            "high": pair["ci_high"],
            "verdict": verdicts.get(name, "INCONCLUSIVE"),
        }
        for name, pair in paired.items()
        if None not in (pair.get("delta"), pair.get("ci_low"), pair.get("ci_high"))
    ]
    if not rows:
        return None
    seen = [name for name in VERDICT_COLOURS if any(r["verdict"] == name for r in rows)]
    colour = {
        "field": "verdict",
        "type": "nominal",
        "title": None,
        "scale": {"domain": seen, "range": [VERDICT_COLOURS[name] for name in seen]},
    }
    y = {"field": "system", "type": "nominal", "title": None, "sort": None}
    title = "nDCG@10 minus the baseline's, 95 % interval"
    return _draw(
        {
            "data": {"values": rows},
            "layer": [
                {
                    "mark": {"type": "rule", "strokeWidth": 3},
                    "encoding": {
                        "y": y,
                        "x": {"field": "low", "type": "quantitative", "title": title},
                        "x2": {"field": "high"},
                        "color": colour,
                    },
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                    "encoding": {
                        "y": y,
                        "x": {"field": "delta", "type": "quantitative"},
                        "color": colour,
                    },
                },
                {
                    "data": {"values": [{"at": least}]},
                    "mark": {"type": "rule", "strokeDash": [4, 4]},
                    "encoding": {"x": {"field": "at", "type": "quantitative"}},
                },
            ],
        },
        height={"step": 32},
    )


def monthly_costs(patterns: Sequence[Mapping[str, Any]], chosen: str | None) -> str | None:
    """Draw each pattern's monthly cost from P50 to P90, the chosen one marked; None without one."""
    rows = [
        {
            "pattern": p["name"],
            "low": float(p["monthly_p50"]),
            "high": float(p["monthly_p90"]),
            "what": "chosen" if p["name"] == chosen else "compared",
        }
        for p in patterns
        if p.get("monthly_p50") is not None and p.get("monthly_p90") is not None
    ]
    if not rows:
        return None
    currency = str(patterns[0].get("currency") or "")
    scale = {"domain": ["chosen", "compared"], "range": ["#1e8449", "#7f8c8d"]}
    y = {
        "field": "pattern",
        "type": "nominal",
        "title": None,
        "sort": None,
        "axis": {"labelLimit": 260},
    }
    x = {
        "field": "low",
        "type": "quantitative",
        "title": f"{currency} a month, P50 (dot) to P90".strip(),
        "scale": {"domainMin": 0},
    }
    colour = {"field": "what", "type": "nominal", "title": None, "scale": scale}
    return _draw(
        {
            "data": {"values": rows},
            "layer": [
                {
                    "mark": {"type": "rule", "strokeWidth": 3},
                    "encoding": {"y": y, "x": x, "x2": {"field": "high"}, "color": colour},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                    "encoding": {"y": y, "x": x, "color": colour},
                },
            ],
        },
        height={"step": 24},
    )


def lengths(norms: Norms | None) -> str | None:
    """Draw how long the vectors of an index are; None when all have length 1, or there are none."""
    if norms is None or norms.unit == norms.count:
        return None
    return _draw(
        {
            "data": {"values": [{"from": a, "to": b, "vectors": n} for a, b, n in norms.histogram]},
            "mark": {"type": "bar", "color": "#7f8c8d"},
            "encoding": {
                "x": {
                    "field": "from",
                    "type": "quantitative",
                    "title": "length of a vector",
                    "bin": {"binned": True},
                    "scale": {"zero": False},
                },
                "x2": {"field": "to"},
                "y": {"field": "vectors", "type": "quantitative", "title": "vectors read"},
            },
        },
        height=120,
    )


def as_address(svg: str) -> str:
    """Return a picture as an address that needs no other file."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _draw(spec: dict[str, Any], *, height: Mapping[str, int] | int) -> str:
    whole = {"$schema": SCHEMA, "background": "white", "width": 480, "height": height, **spec}
    return as_address(str(vl_convert.vegalite_to_svg(whole)))
