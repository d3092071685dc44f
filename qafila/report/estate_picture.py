"""The estate as a picture: waves from left to right, and what crosses between them.

Positions are networkx' multipartite layout, the drawing is Vega's; names are text marks, which
Vega escapes. Bounded: a large estate is drawn as groups of one application or kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import vl_convert

from qafila.audit.dependencies.kinds import EdgeKind
from qafila.audit.dependencies.waves import WavePlan
from qafila.audit.estate import Edge, Resource
from qafila.report.estate_nodes import Drawn, Link, draw

SCHEMA = "https://vega.github.io/schema/vega/v5.json"
KIND_COLOURS = {
    EdgeKind.CALLS: "#1f5fa8",
    EdgeKind.READS: "#17877d",
    EdgeKind.WRITES: "#b4471b",
    EdgeKind.ROUTES: "#5d4aa8",
    EdgeKind.RESOLVES: "#8a6d1a",
    EdgeKind.ATTACHES: "#4d5656",
    EdgeKind.NETWORK_ALLOWS: "#7f8c8d",
    EdgeKind.SHARES_SECRET: "#a8327d",
    EdgeKind.DEPLOYS: "#2c7a3f",
}
CRITICALITY_COLOURS = {"low": "#1e8449", "medium": "#b7791f", "high": "#c0392b", "": "#7f8c8d"}
_WIDTH, _HEIGHT = 142, 32  # of one node
_COLUMN, _ROW = 196, 44
_TOP = 40
_CURVE = {
    "type": "linkpath",
    "shape": "diagonal",
    "orient": "horizontal",
    "sourceX": "sx",
    "sourceY": "sy",
    "targetX": "tx",
    "targetY": "ty",
}
_LEGEND = {
    "orient": "bottom",
    "direction": "horizontal",
    "titleFontSize": 11,
    "labelFontSize": 11,
    "titleOrient": "left",
}


def picture(plan: WavePlan, resources: Sequence[Resource], edges: Sequence[Edge]) -> str | None:
    """Return an SVG of the plan; None when nothing moves.

    Up to 60 nodes are drawn one by one; above, as groups of one application or kind; waves beyond
    six share columns. Colour is an edge's kind, opacity its confidence. ``same-tag`` is not
    drawn: where a thing stands says it. At most 120 lines, the surest.
    """
    drawn = draw(plan, resources, edges)
    return None if not drawn.nodes else str(vl_convert.vega_to_svg(_spec(drawn)))


def _spec(drawn: Drawn) -> dict[str, Any]:
    places = _places(drawn)
    nodes = [
        {
            "x": places[node.key][0],
            "y": places[node.key][1],
            "label": node.label,
            "below": node.below,
            "colour": CRITICALITY_COLOURS.get(node.criticality, "#7f8c8d"),
            "dash": [3, 3] if node.stays else [1, 0],
        }
        for node in drawn.nodes
    ]
    columns = [
        {"x": n * _COLUMN, "title": title, "below": below}
        for n, (title, below) in enumerate(drawn.columns)
    ]
    across, within = _lines(drawn.links, places)
    kinds = [k.value for k in KIND_COLOURS if any(k == e.kind for e in drawn.links)]
    deepest = max(place[1] for place in places.values())
    return {
        "$schema": SCHEMA,
        "background": "white",
        "padding": 14,
        "width": (len(columns) - 1) * _COLUMN + _WIDTH + 30,
        "height": deepest + _HEIGHT + (24 if drawn.note else 6),
        "data": [
            {"name": "nodes", "values": nodes},
            {"name": "columns", "values": columns},
            {"name": "across", "values": across, "transform": [_CURVE]},
            {"name": "within", "values": within},
            {"name": "note", "values": [{"text": drawn.note}] if drawn.note else []},
        ],
        "scales": [
            {
                "name": "kind",
                "type": "ordinal",
                "domain": kinds,
                "range": [KIND_COLOURS[EdgeKind(k)] for k in kinds],
            },
            {
                "name": "criticality",
                "type": "ordinal",
                "domain": ["low", "medium", "high"],
                "range": [CRITICALITY_COLOURS[c] for c in ("low", "medium", "high")],
            },
        ],
        "legends": [
            {"stroke": "criticality", "title": "criticality", "symbolType": "square"} | _LEGEND,
            *(
                [
                    {
                        "stroke": "kind",
                        "title": "edge, paler where less certain",
                        "symbolType": "stroke",
                        "symbolStrokeWidth": 3,
                    }
                    | _LEGEND
                ]
                if kinds
                else []
            ),
        ],
        "marks": [
            _texts("columns", "title", size=13, fill="#222", bold=True),
            _texts("columns", "below", size=11, fill="#555", dy=15),
            _strokes("across"),
            _strokes("within"),
            _heads("across"),
            _heads("within"),
            _boxes(),
            _texts("nodes", "label", size=12, fill="#111", dy=14),
            _texts("nodes", "below", size=10, fill="#555", dy=26),
            {
                "type": "text",
                "from": {"data": "note"},
                "encode": {
                    "enter": {
                        "x": {"value": 0},
                        "y": {"value": deepest + _HEIGHT + 18},
                        "text": {"field": "text"},
                        "fontSize": {"value": 10},
                        "fill": {"value": "#555"},
                    }
                },
            },
        ],
    }


def _places(drawn: Drawn) -> dict[str, tuple[float, float]]:
    """Return the upper left corner of each node: a column a wave, rows by neighbours."""
    layout = nx.Graph()
    for node in drawn.nodes:
        layout.add_node(node.key, layer=node.column)
    raw = nx.multipartite_layout(layout, subset_key="layer", scale=1)
    rows: dict[int, list[str]] = {}
    for node in drawn.nodes:
        rows.setdefault(node.column, []).append(node.key)
    height = {key: float(point[1]) for key, point in raw.items()}
    _settle(rows, drawn.links, height)
    tallest = max(len(keys) for keys in rows.values())
    return {
        key: (column * _COLUMN, _TOP + (n + (tallest - len(keys)) / 2) * _ROW)
        for column, keys in rows.items()
        for n, key in enumerate(keys)
    }


def _settle(rows: dict[int, list[str]], links: Sequence[Link], height: dict[str, float]) -> None:
    """Order each column by the mean height of its neighbours: fewer lines cross (barycentre)."""
    near: dict[str, list[str]] = {key: [] for keys in rows.values() for key in keys}
    for link in links:
        near[link.start].append(link.end)
        near[link.end].append(link.start)
    for _ in range(4):
        for column in sorted(rows):
            keys = rows[column]
            mean = {
                k: sum(height[n] for n in near[k]) / len(near[k]) if near[k] else height[k]
                for k in keys
            }
            keys.sort(key=lambda k: (mean[k], k))
            for n, key in enumerate(keys):
                height[key] = (n + 1) / (len(keys) + 1)


def _lines(
    links: Sequence[Link], places: Mapping[str, tuple[float, float]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines between columns, and those between two nodes of one column."""
    across, within = [], []
    for link in links:
        (x1, y1), (x2, y2) = places[link.start], places[link.end]
        middle = _HEIGHT / 2
        line = {
            "kind": str(link.kind),
            "opacity": max(0.15, link.confidence),
            "sy": y1 + middle,
            "ty": y2 + middle,
        }
        if x1 > x2:
            across.append(line | {"sx": x1, "tx": x2 + _WIDTH + 7, "angle": -90})
        elif x1 < x2:
            across.append(line | {"sx": x1 + _WIDTH, "tx": x2 - 7, "angle": 90})
        else:
            right, bulge = x1 + _WIDTH, x1 + _WIDTH + 14 + abs(y2 - y1) / 9
            path = f"M{right},{y1 + middle} C{bulge},{y1 + middle} {bulge},{y2 + middle} "
            within.append(
                line | {"tx": right + 7, "angle": -90, "path": f"{path}{right + 7},{y2 + middle}"}
            )
    return across, within


def _strokes(data: str) -> dict[str, Any]:
    return {
        "type": "path",
        "from": {"data": data},
        "encode": {
            "enter": {
                "path": {"field": "path"},
                "stroke": {"scale": "kind", "field": "kind"},
                "strokeWidth": {"value": 1.6},
                "strokeOpacity": {"field": "opacity"},
                "fill": {"value": None},
            }
        },
    }


def _heads(data: str) -> dict[str, Any]:
    return {
        "type": "symbol",
        "from": {"data": data},
        "encode": {
            "enter": {
                "x": {"field": "tx"},
                "y": {"field": "ty"},
                "shape": {"value": "triangle"},
                "size": {"value": 45},
                "angle": {"field": "angle"},
                "fill": {"scale": "kind", "field": "kind"},
                "fillOpacity": {"field": "opacity"},
            }
        },
    }


def _boxes() -> dict[str, Any]:
    return {
        "type": "rect",
        "from": {"data": "nodes"},
        "encode": {
            "enter": {
                "x": {"field": "x"},
                "y": {"field": "y"},
                "width": {"value": _WIDTH},
                "height": {"value": _HEIGHT},
                "cornerRadius": {"value": 4},
                "fill": {"value": "white"},
                "stroke": {"field": "colour"},
                "strokeWidth": {"value": 1.5},
                "strokeDash": {"field": "dash"},
            }
        },
    }


def _texts(
    data: str, text: str, *, size: int, fill: str, dy: float = 0, bold: bool = False
) -> dict[str, Any]:
    node = data == "nodes"
    return {
        "type": "text",
        "from": {"data": data},
        "encode": {
            "enter": {
                "x": {"field": "x", "offset": 8 if node else 0},
                "y": ({"field": "y"} if node else {"value": 8}) | {"offset": dy},
                "text": {"field": text},
                "fontSize": {"value": size},
                "fontWeight": {"value": "bold" if bold else "normal"},
                "fill": {"value": fill},
                "limit": {"value": _WIDTH - 14 if node else _COLUMN - 8},
            }
        },
    }
