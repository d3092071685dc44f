"""Draw what the simulation of the judge found, for docs/explanation/judge.md.

    qafila bench judge --rollouts 10000 > docs/images/judge.json
    python -m benchmarks.judge_plots docs/images/judge.json

Writes judge-false-aborts.svg, judge-by-look.svg and judge-requests.svg beside the JSON, and prints
the rows as a table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vl_convert

from benchmarks.judge import shown

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
Rows = Sequence[Mapping[str, Any]]
_LINES = {
    "z_test_false_abort": ("as good: aborted by the z-test", "#c0392b"),
    "false_abort": ("as good: aborted by the judge", "#e59866"),
    "proved_equal": ("as good: proven", "#1e8449"),
    "twice_promoted": ("twice as bad: promoted", "#6c3483"),
    "twice_aborted": ("twice as bad: aborted", "#7f8c8d"),
    "four_times_aborted": ("four times as bad: aborted", "#2471a3"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("figures", type=Path, help="what the benchmark printed")
    given = parser.parse_args()
    found = json.loads(given.figures.read_text())
    pictures = {
        "judge-false-aborts": false_aborts(found["rows"]),
        "judge-by-look": by_look(found["curves"]),
        "judge-requests": requests(found["rows"]),
    }
    for name, spec in pictures.items():
        svg = vl_convert.vegalite_to_svg({"$schema": SCHEMA, "background": "white", **spec})
        given.figures.with_name(f"{name}.svg").write_text(str(svg))
    print(shown(found["rows"]))


def users(row: Mapping[str, Any]) -> str:
    """Return who the users of a row are, in words."""
    return f"{row['tenants']} sticky tenants" if row["tenants"] else "users alike"


def false_aborts(rows: Rows) -> dict[str, Any]:
    """Return bars of the false aborts, judge beside z-test, with intervals and the promise."""
    values = [
        {
            "requests": f"{row['requests_per_look']:,}",
            "users": f"{users(row)}, {row['weight']:.0%}",
            "who": who,
            "share": row[key],
            "low": row[f"{key}_interval"][0],
            "high": row[f"{key}_interval"][1],
        }
        for row in rows
        for key, who in (("false_abort", "judge"), ("z_test_false_abort", "peeking z-test"))
    ]
    x = {"field": "requests", "type": "ordinal", "sort": None, "title": "requests a look"}
    dodge = {"field": "who", "type": "nominal"}
    y = {"type": "quantitative", "axis": {"format": "%"}, "title": "equal canaries aborted"}
    colour = {
        **dodge,
        "title": None,
        "scale": {"domain": ["judge", "peeking z-test"], "range": ["#1e8449", "#c0392b"]},
    }
    return {
        "title": "False aborts in 60 looks; the line is the promise, 1 %",
        "data": {"values": values},
        "facet": {"column": {"field": "users", "type": "nominal", "title": None}},
        "spec": {
            "width": 120,
            "height": 180,
            "layer": [
                {
                    "mark": "bar",
                    "encoding": {
                        "x": {**x, "axis": {"labelAngle": 0}},
                        "xOffset": dodge,
                        "y": {**y, "field": "share"},
                        "color": colour,
                    },
                },
                {
                    "mark": {"type": "rule", "color": "#333333"},
                    "encoding": {
                        "x": x,
                        "xOffset": dodge,
                        "y": {**y, "field": "low"},
                        "y2": {"field": "high"},
                    },
                },
                {
                    "mark": {"type": "rule", "strokeDash": [4, 3]},
                    "encoding": {"y": {"datum": 0.01, "type": "quantitative"}},
                },
            ],
        },
    }


def by_look(curves: Rows) -> dict[str, Any]:
    """Return lines: the share of rollouts that have ended one way, look by look."""
    values = [
        {"look": look, "share": share, "what": words, "users": users(curve)}
        for curve in curves
        for key, (words, _) in _LINES.items()
        for look, share in enumerate(curve[key], start=1)
    ]
    scale = {
        "domain": [words for words, _ in _LINES.values()],
        "range": [colour for _, colour in _LINES.values()],
    }
    return {
        "title": "1 000 requests a look, 25 % on the canary: share of rollouts ended so far",
        "data": {"values": values},
        "facet": {"column": {"field": "users", "type": "nominal", "title": None, "sort": None}},
        "spec": {
            "width": 280,
            "height": 220,
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
            "encoding": {
                "x": {"field": "look", "type": "quantitative", "title": "look"},
                "y": {
                    "field": "share",
                    "type": "quantitative",
                    "axis": {"format": "%"},
                    "title": None,
                },
                "color": {"field": "what", "type": "nominal", "title": None, "scale": scale},
            },
        },
    }


def requests(rows: Rows) -> dict[str, Any]:
    """Return points: requests until half of the bad canaries are caught, and fixed-sample tests."""
    kinds = {
        "median_requests_to_catch": "judge, median",
        "fixed_sample_requests_50": "fixed sample, power 50 %",
        "fixed_sample_requests_80": "fixed sample, power 80 %",
        "fixed_sample_requests": "fixed sample, power 95 %",
    }
    values = [
        {
            "row": f"{row['requests_per_look']:,} a look, {users(row)}, {row['weight']:.0%}",
            "what": words,
            "requests": row[key],
        }
        for row in rows
        for key, words in kinds.items()
        if row[key] is not None
    ]
    return {
        "title": "Four times as bad: requests until it is caught",
        "width": 420,
        "height": {"step": 22},
        "data": {"values": values},
        "mark": {"type": "point", "filled": True, "opacity": 0.8},
        "encoding": {
            "y": {
                "field": "row",
                "type": "nominal",
                "title": None,
                "sort": None,
                "axis": {"labelLimit": 320},
            },
            "x": {
                "field": "requests",
                "type": "quantitative",
                "scale": {"type": "log"},
                "title": "requests, both arms",
            },
            "color": {
                "field": "what",
                "type": "nominal",
                "title": None,
                "scale": {
                    "domain": list(kinds.values()),
                    "range": ["#1e8449", "#f5b041", "#d68910", "#935116"],
                },
            },
            "size": {
                "condition": {"test": "datum.what === 'judge, median'", "value": 260},
                "value": 80,
            },
            "shape": {
                "field": "what",
                "type": "nominal",
                "title": None,
                "scale": {"domain": list(kinds.values())},
            },
        },
    }


if __name__ == "__main__":
    main()
