"""Draw a rollout's timeline: weights asked and seen, bad answers, evidence and its thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import vl_convert

_HARM = ("errors", "latency", "empty")
_WIDTH, _HEIGHT = 640, 110


def canary_timeline(
    looks: Sequence[Mapping[str, Any]], *, title: str, abort_at: float, promote_at: float
) -> str:
    """Return the timeline as SVG text; looks as the ledger stores them, in order.

    Three panels over seconds since the first look: the weight as asked and as the traffic showed
    it, bad answers of each arm a look, and the e-values on a logarithmic scale.
    """
    start = looks[0]["looked_at"] if looks else None
    seconds = [(look["looked_at"] - start).total_seconds() for look in looks]
    weights, bad, evidence = [], [], []
    for at, look in zip(seconds, looks, strict=True):
        weights.append({"s": at, "percent": look["weight"], "what": "asked"})
        if look["observed"] is not None:
            weights.append({"s": at, "percent": 100 * look["observed"], "what": "seen"})
        for arm in ("baseline", "candidate"):
            counts = look["counts"].get(arm, {})
            bad.append({"s": at, "bad": counts.get("bad", 0), "arm": arm})
        e = look["e_values"]
        if e:
            harm = max(e.get(g, 1.0) for g in _HARM)
            fine = max(e.get("fine", 1.0), e.get("under", 1.0))
            evidence.append({"s": at, "E": _clamp(harm), "what": "harm"})
            evidence.append({"s": at, "E": _clamp(fine), "what": "fine"})
    limits = [{"E": abort_at, "what": "harm"}, {"E": promote_at, "what": "fine"}]
    proof = _colours("what", "proof of", harm="#c0392b", fine="#1e8449")
    arms = _colours("arm", "arm", baseline="#7f8c8d", candidate="#d68910")
    spec: dict[str, Any] = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": title,
        "background": "white",
        "resolve": {"scale": {"color": "independent"}},
        "vconcat": [
            _panel(
                weights,
                {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
                {**_number("percent", "% on the canary"), "scale": {"domain": [0, 100]}},
                strokeDash={"field": "what", "type": "nominal", "title": "weight"},
            ),
            _panel(
                bad, {"type": "bar", "size": 3}, _number("bad", "bad answers a look"), color=arms
            ),
            {
                "width": _WIDTH,
                "height": _HEIGHT,
                "layer": [
                    _panel(
                        evidence,
                        {"type": "line", "strokeWidth": 2},
                        {
                            **_number("E", "evidence (E)"),
                            "scale": {"type": "log"},
                            "axis": {"tickCount": 6, "format": "~g"},
                        },
                        color=proof,
                    ),
                    {
                        "data": {"values": limits},
                        "mark": {"type": "rule", "strokeDash": [4, 4]},
                        "encoding": {"y": _number("E", "evidence (E)"), "color": proof},
                    },
                ],
            },
        ],
    }
    return str(vl_convert.vegalite_to_svg(spec))


def _panel(
    values: Sequence[Mapping[str, Any]],
    mark: Mapping[str, Any],
    y: Mapping[str, Any],
    **channels: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "data": {"values": list(values)},
        "mark": mark,
        "encoding": {
            "x": {**_number("s", "seconds"), "scale": {"domainMin": 0}},
            "y": y,
            **channels,
        },
    }


def _number(field: str, title: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title}


def _colours(field: str, title: str, **colours: str) -> dict[str, Any]:
    scale = {"domain": list(colours), "range": list(colours.values())}
    return {"field": field, "type": "nominal", "title": title, "scale": scale}


def _clamp(e: float) -> float:
    return min(max(e, 1e-4), 1e8)
