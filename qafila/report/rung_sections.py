"""What some rungs show beyond their words: pictures, and tables of their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qafila.report import validation_charts as charts
from qafila.report.rungs import RungLine
from qafila.report.tables import Table, table
from qafila.report.wording import NOT_MEASURED, NOTHING, between, milliseconds, money, number, text

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Pictured:
    """A picture made here, with what it shows in words."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Extra:
    """What one rung shows beyond its words; ``told`` are parts that its own table tells of."""

    pictures: Sequence[Pictured] = field(default_factory=tuple)
    tables: Sequence[Table] = field(default_factory=tuple)
    told: frozenset[str] = frozenset()


def nothing(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Return the extra of a rung that says it all in words and tables."""
    return Extra()


def systems(body: Body) -> list[Table]:
    """Return what each system reached, and its gain over the baseline."""
    verdicts, cost = body.get("verdicts") or {}, body.get("cost_per_1000_queries") or {}
    currency = text(cost.get("currency"))
    reached = table(
        f"What each system reached, on {number(body.get('queries'))} judged queries",
        ("system", "nDCG@10", "MRR", "p50", "p95", "errors", f"{currency} per 1,000 queries",
         "verdict"),
        (
            (plain(name), dash(number(s.get("ndcg_at_10"), 3)), dash(number(s.get("mrr"), 3)),
             dash(milliseconds(s.get("p50_ms"))), dash(milliseconds(s.get("p95_ms"))),
             dash(number(s.get("errors"))), dash(money(cost.get(name), places=6)),
             text(verdicts.get(name)))
            for name, s in (body.get("systems") or {}).items()
        ),
        1, 2, 3, 4, 5, 6,
    )  # fmt: skip
    gained = table(
        "Gain over the baseline, query by query",
        ("system", "nDCG@10", "95 % interval", "p-value", "smallest effect it could show"),
        (
            (plain(name), dash(number(p.get("delta"), 3, sign=True)),
             dash(between(p.get("ci_low"), p.get("ci_high"), 3, sign=True)),
             dash(number(p.get("p_value"), 4)), dash(number(p.get("smallest_effect"), 3)))
            for name, p in (body.get("paired") or {}).items()
        ),
        1, 2, 3, 4,
    )  # fmt: skip
    return [reached, gained]


def quality(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw the gain in nDCG@10 with its interval: of each system, each class, each language."""
    verdicts, own = body.get("verdicts") or {}, line.kept.get("parts") or {}
    drawn = [
        charts.interval(
            f"{plain(name)}, all queries", p.get("delta"), p.get("ci_low"), p.get("ci_high"),
            (own.get("nDCG@10") or {}).get("verdict") if name == "candidate"
            else verdicts.get(name),
        )
        for name, p in sorted((body.get("paired") or {}).items())
    ]  # fmt: skip
    groups = (body.get("quality") or {}).get("groups") or []
    for group in groups:
        low, high = group.get("ci") or (None, None)
        name = f"{group.get('by')} {group.get('value')} ({number(group.get('queries'))})"
        drawn.append(charts.interval(name, group.get("delta"), low, high, group.get("verdict")))
    least = (objectives.get("ndcg_at_10") or {}).get("at_least_delta", 0.0)
    missing = sum(group.get("ci") is None for group in groups)
    caption = (
        "Gain in nDCG@10 over the baseline: the mean (mark) and its 95 % interval (line); right of "
        "the dashed line is what the workload asks for. Of a class or language, the candidate's, "
        "with the number of its queries; their intervals hold for all of them together."
    )
    if missing:
        caption += f" {missing} with too few queries are not drawn."
    svg = charts.draw_intervals(drawn, "nDCG@10 minus the baseline's", [("asked for", least)])
    return Extra(_pictured(svg, caption))


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
            "all rows": {"recall_at_10": body.get("recall_at_10"), "ci_low": low, "ci_high": high,
                         "queries": body.get("recall_queries")}
        }  # fmt: skip
    judged_by = next((f["at_least"] for f in filters.values() if f.get("at_least")), None)
    at_least = judged_by or objectives.get("recall_at_10")
    drawn = [
        charts.interval(
            n, f.get("recall_at_10"), f.get("ci_low"), f.get("ci_high"),
            (parts.get(n) or {}).get("verdict"),
        )
        for n in names for f in [filters[n]]
    ]  # fmt: skip
    shown = table(
        "Filter by filter",
        ("filter", "rows left", "of all", "recall@10", "95 % interval", "searches", "p50, index",
         "p50, every row", "verdict"),
        (
            (n, dash(number(f.get("rows"))), _share(f), dash(number(f.get("recall_at_10"), 3)),
             dash(between(f.get("ci_low"), f.get("ci_high"), 3)), dash(number(f.get("queries"))),
             dash(milliseconds(f.get("p50_ms"))), dash(milliseconds(f.get("exact_p50_ms"))),
             text((parts.get(n) or {}).get("verdict")))
            for n in names for f in [filters[n]]
        ),
        1, 2, 3, 4, 5, 6, 7,
    )  # fmt: skip
    svg = charts.draw_intervals(drawn, "recall@10", [("objective", at_least)])
    caption = (
        "Of the ten nearest, the share that the index found, under each filter: the mean (mark) "
        "and its interval (line), which holds for all filters together at 95 %; the dashed line "
        "is the least that the workload allows."
    )
    if len(names) > charts.MOST_INTERVALS:
        caption += f" Drawn: the {charts.MOST_INTERVALS} that may be lowest of {len(names)}."
    return Extra(_pictured(svg, caption), [shown], frozenset(names))


def latency(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw the percentiles of each system at each rate."""
    points = (line.kept.get("series") or {}).get("percentiles") or []
    found: Body = body.get("latency") or {}
    multiples = {lv.get("rate"): lv.get("multiple") for lv in found.get("levels") or []}
    rates = sorted({p.get("rate") for p in points if isinstance(p.get("rate"), int | float)})
    names = {r: _rate(r, multiples.get(r)) for r in rates}
    named = [{**p, "rate": names[p["rate"]]} for p in points if p.get("rate") in names]
    svg = charts.draw_percentiles(named, list(names.values()))
    return Extra(
        _pictured(
            svg,
            "How long requests took: so many per cent of them took at most so long. The axis below "
            "stretches towards 100 %, since the slowest few are what users complain about. Where "
            "one line is under the other, that system is faster.",
        )
    )


def change(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw the overlap of the first ten as queries came in."""
    points = (line.kept.get("series") or {}).get("overlap_at_10") or []
    at_least = (objectives.get("overlap_at_10") or {}).get("at_least")
    return Extra(
        _pictured(
            charts.draw_overlap(points, at_least),
            "Share of the first ten results that both systems have in common: the mean after so "
            "many queries (line), and where it lies at 95 %, however often one looks (band).",
        )
    )


def cost(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Tabulate the price of a thousand queries of each system."""
    given: Body = body.get("cost_per_1000_queries") or {}
    currency = text(given.get("currency"))
    return Extra(
        tables=[
            table(
                "Machine time of 1,000 queries, at list price",
                ("system", currency),
                ((plain(n), dash(money(amount, places=6))) for n, amount in given.items()
                 if n != "currency"),
                1,
            )
        ]
    )  # fmt: skip


def answers(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw the gain in score, by grader, class and language."""
    found: Body = body.get("answers") or {}
    parts = found.get("parts") or {}
    drawn = [
        charts.interval(
            f"{name} ({number(p.get('pairs'))})", p.get("delta"), p.get("ci_low"),
            p.get("ci_high"), (parts.get(name) or {}).get("verdict"),
        )
        for name, p in (found.get("paired") or {}).items()
    ]  # fmt: skip
    return Extra(
        _pictured(
            charts.draw_intervals(drawn, "score minus the baseline's", [("as before", 0.0)]),
            "Gain in score over the baseline, from -1 to 1, with the number of prompts: the mean "
            "(mark) and its 95 % interval (line).",
        )
    )


EXTRAS: Mapping[str, Callable[[RungLine, Body, Body], Extra]] = {
    "index": index, "quality": quality, "change": change, "latency": latency, "cost": cost,
    "answers": answers,
}  # fmt: skip


def plain(name: str) -> str:
    """Return a system's name in words."""
    return {"vector_only": "vectors alone"}.get(name, name.replace("_", " "))


def dash(written: str) -> str:
    """Return a dash for what was not measured: a table has no room for the words."""
    return NOTHING if written == NOT_MEASURED else written


def _share(found: Body) -> str:
    rows, of = found.get("rows"), found.get("of")
    return f"{100 * rows / of:.3g} %" if rows is not None and of else NOTHING


def _rate(per_s: float, multiple: Any) -> str:
    rate = f"{per_s:.3g} a second"
    return rate if multiple is None else f"{rate} ({multiple:.3g} × the real rate)"


def _pictured(svg: str | None, caption: str) -> list[Pictured]:
    return [] if svg is None else [Pictured(svg, caption)]
