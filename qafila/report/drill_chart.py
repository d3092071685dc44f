"""Draw a drill: how long each way back took, against what was allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import vl_convert

from qafila.rollout.judge_drill import Flip

_BINS = 24


def drill_histogram(flips: Sequence[Flip], *, title: str, most_ms: float) -> str:
    """Return the histogram of the flips as SVG text; milliseconds, the bound as a dashed line.

    A flip that never came back is not drawn; the verdict says it. The bound is left off where it
    is more than four times the slowest flip, so that the bars can be read.
    """
    times = [f.seconds_to_zero * 1000 for f in flips if math.isfinite(f.seconds_to_zero)]
    top = max(times, default=1.0)
    bars = {
        "data": {"values": [{"ms": t} for t in times]},
        "mark": {"type": "bar", "color": "#2471a3"},
        "encoding": {
            "x": {
                "field": "ms",
                "bin": {"maxbins": _BINS},
                "title": "ms until nobody met the drilled side",
            },
            "y": {"aggregate": "count", "title": "flips", "axis": {"tickMinStep": 1}},
        },
    }
    bound = {
        "data": {"values": [{"ms": most_ms}]},
        "mark": {"type": "rule", "color": "#c0392b", "strokeDash": [6, 3], "strokeWidth": 2},
        "encoding": {"x": {"field": "ms", "type": "quantitative"}},
    }
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": title,
        "background": "white",
        "width": 520,
        "height": 180,
        "layer": [bars, bound] if most_ms <= 4 * top else [bars],
    }
    return str(vl_convert.vegalite_to_svg(whole))
