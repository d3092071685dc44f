"""What the rungs that look at what is stored show beyond their words: pictures and figures."""

from __future__ import annotations

from qafila.report import validation_charts as charts
from qafila.report.rung_extra import Body, Extra, dash, pictured
from qafila.report.tables import table
from qafila.text.figures import NOTHING, between, milliseconds, number, text
from qafila.validation.check_labels import RungLine

_MOST_READERS = 60


def meaning(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw how far stored vectors are from those that the model makes now."""
    points = (line.kept.get("series") or {}).get("distance") or []
    svg = charts.draw_distances(points, (body.get("meaning") or {}).get("tolerance"))
    return Extra(
        pictured(
            svg,
            "Stored vectors and those that the model makes of their texts now: so large a share of "
            "the sample is at most so far apart. What lies above the dashed line is not the "
            "vector of its text.",
        )
    )


def index(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw recall filter by filter against the objective; tabulate it with the times."""
    filters: Body = (body.get("index") or {}).get("filters") or {}
    parts = line.kept.get("parts") or {}
    order = [p.get("filter") for p in (line.kept.get("series") or {}).get("recall_by_share") or []]
    names = [n for n in order if n in filters] + [n for n in filters if n not in order]
    if not filters and body.get("recall_ci"):
        names, parts = ["all rows"], {"all rows": {"verdict": line.verdict}}
        low, high = body["recall_ci"]
        filters = {
            "all rows": {
                "recall_at_10": body.get("recall_at_10"),
                "ci_low": low,
                "ci_high": high,
                "queries": body.get("recall_queries"),
            }
        }
    judged_by = next((f["at_least"] for f in filters.values() if f.get("at_least")), None)
    at_least = judged_by or objectives.get("recall_at_10")
    drawn = [
        charts.interval(
            n,
            f.get("recall_at_10"),
            f.get("ci_low"),
            f.get("ci_high"),
            (parts.get(n) or {}).get("verdict"),
        )
        for n in names
        for f in [filters[n]]
    ]
    shown = table(
        "Filter by filter",
        (
            "filter",
            "rows left",
            "of all",
            "recall@10",
            "95 % interval",
            "searches",
            "p50, index",
            "p50, every row",
            "verdict",
        ),
        (
            (
                n,
                dash(number(f.get("rows"))),
                _share(f),
                dash(number(f.get("recall_at_10"), 3)),
                dash(between(f.get("ci_low"), f.get("ci_high"), 3)),
                dash(number(f.get("queries"))),
                dash(milliseconds(f.get("p50_ms"))),
                dash(milliseconds(f.get("exact_p50_ms"))),
                text((parts.get(n) or {}).get("verdict")),
            )
            for n in names
            for f in [filters[n]]
        ),
        1,
        2,
        3,
        4,
        5,
        6,
        7,
    )
    svg = charts.draw_intervals(drawn, "recall@10", [("objective", at_least)])
    caption = (
        "Of the ten nearest, the share that the index found, under each filter: the mean (mark) "
        "and its interval (line), which holds for all filters together at 95 %; the dashed line "
        "is the least that the workload allows."
    )
    if len(names) > charts.MOST_INTERVALS:
        caption += f" Drawn: the {charts.MOST_INTERVALS} that may be lowest of {len(names)}."
    return Extra(pictured(svg, caption), [shown], frozenset(names))


def access(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw and tabulate what each reader found of what is theirs, and of what is not."""
    readers: Body = (body.get("access") or {}).get("by_reader") or {}
    parts = line.kept.get("parts") or {}
    drawn = [
        charts.interval(
            name,
            r.get("recall_at_10"),
            r.get("ci_low"),
            r.get("ci_high"),
            (parts.get(name) or {}).get("verdict"),
        )
        for name, r in readers.items()
    ]
    at_least = objectives.get("recall_at_10")
    caption = (
        "Of the ten nearest that a reader may see, the share that search found: the mean (mark) "
        "and its interval (line), which holds for all readers together at 95 %."
    )
    if len(readers) > charts.MOST_INTERVALS:
        caption += f" Drawn: the {charts.MOST_INTERVALS} that may be lowest of {len(readers)}."
    played = list(readers.items())[:_MOST_READERS]
    shown = table(
        "Reader by reader",
        (
            "reader",
            "rows",
            "theirs",
            "forbidden, by the filter",
            "hidden",
            "searches",
            "results",
            "forbidden results",
            "recall@10",
            "95 % interval",
            "verdict",
        ),
        (
            (
                name,
                *(
                    dash(number(r.get(key)))
                    for key in (
                        "rows",
                        "allowed",
                        "shown",
                        "hidden",
                        "searches",
                        "hits",
                        "returned",
                    )
                ),
                dash(number(r.get("recall_at_10"), 3)),
                dash(between(r.get("ci_low"), r.get("ci_high"), 3)),
                text((parts.get(name) or {}).get("verdict")),
            )
            for name, r in played
        ),
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
    )
    svg = charts.draw_intervals(drawn, "recall@10", [("objective", at_least)])
    return Extra(pictured(svg, caption), [shown], frozenset(name for name, _ in played))


def _share(found: Body) -> str:
    rows, of = found.get("rows"), found.get("of")
    return f"{100 * rows / of:.3g} %" if rows is not None and of else NOTHING
