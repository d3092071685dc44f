"""What the rungs that ask the services show beyond their words: pictures and figures."""

from __future__ import annotations

from typing import Any

from qafila.report import validation_charts as charts
from qafila.report.rung_extra import Body, Extra, dash, pictured, plain
from qafila.report.tables import Table, table
from qafila.text.figures import between, milliseconds, money, number, text
from qafila.validation.check_labels import RungLine


def systems(body: Body) -> list[Table]:
    """Return what each system reached, and its gain over the baseline."""
    verdicts, cost = body.get("verdicts") or {}, body.get("cost_per_1000_queries") or {}
    currency = text(cost.get("currency"))
    reached = table(
        f"What each system reached, on {number(body.get('queries'))} judged queries",
        (
            "system",
            "nDCG@10",
            "MRR",
            "p50",
            "p95",
            "errors",
            f"{currency} per 1,000 queries",
            "verdict",
        ),
        (
            (
                plain(name),
                dash(number(s.get("ndcg_at_10"), 3)),
                dash(number(s.get("mrr"), 3)),
                dash(milliseconds(s.get("p50_ms"))),
                dash(milliseconds(s.get("p95_ms"))),
                dash(number(s.get("errors"))),
                dash(money(cost.get(name), places=6)),
                text(verdicts.get(name)),
            )
            for name, s in (body.get("systems") or {}).items()
        ),
        1,
        2,
        3,
        4,
        5,
        6,
    )
    gained = table(
        "Gain over the baseline, query by query",
        ("system", "nDCG@10", "95 % interval", "p-value", "smallest effect it could show"),
        (
            (
                plain(name),
                dash(number(p.get("delta"), 3, sign=True)),
                dash(between(p.get("ci_low"), p.get("ci_high"), 3, sign=True)),
                dash(number(p.get("p_value"), 4)),
                dash(number(p.get("smallest_effect"), 3)),
            )
            for name, p in (body.get("paired") or {}).items()
        ),
        1,
        2,
        3,
        4,
    )
    return [reached, gained]


def quality(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw the gain in nDCG@10 with its interval: of each system, each class, each language."""
    verdicts, own = body.get("verdicts") or {}, line.kept.get("parts") or {}
    drawn = [
        charts.interval(
            f"{plain(name)}, all queries",
            p.get("delta"),
            p.get("ci_low"),
            p.get("ci_high"),
            (own.get("nDCG@10") or {}).get("verdict")
            if name == "candidate"
            else verdicts.get(name),
        )
        for name, p in sorted((body.get("paired") or {}).items())
    ]
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
    return Extra(pictured(svg, caption))


def change(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw the overlap of the first ten as queries came in."""
    points = (line.kept.get("series") or {}).get("overlap_at_10") or []
    at_least = (objectives.get("overlap_at_10") or {}).get("at_least")
    return Extra(
        pictured(
            charts.draw_overlap(points, at_least),
            "Share of the first ten results that both systems have in common: the mean after so "
            "many queries (line), and where it lies at 95 %, however often one looks (band).",
        )
    )


def latency(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw the percentiles of each system at each rate."""
    points = (line.kept.get("series") or {}).get("percentiles") or []
    found: Body = body.get("latency") or {}
    multiples = {_rate(lv.get("rate")): lv.get("multiple") for lv in found.get("levels") or []}
    named = [{**p, "rate": _times(_rate(p.get("rate")), multiples)} for p in points]
    svg = charts.draw_percentiles(named, list(dict.fromkeys(p["rate"] for p in named)))
    return Extra(
        pictured(
            svg,
            "How long requests took: so many per cent of them took at most so long. The axis below "
            "stretches towards 100 %, since the slowest few are what users complain about. Where "
            "one line is under the other, that system is faster.",
        )
    )


def cost(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Tabulate the price of a thousand queries of each system, and the prices it is made of."""
    given: Body = body.get("cost_per_1000_queries") or {}
    currency = text(given.get("currency"))
    each = table(
        "What 1,000 queries cost",
        ("system", currency),
        (
            (plain(name), dash(money(amount, places=6)))
            for name, amount in given.items()
            if name != "currency"
        ),
        1,
    )
    prices = table(
        "Prices used",
        ("item", "amount", "unit", "as of", "source"),
        (
            (
                text(p.get("item")),
                f"{text(p.get('amount'))} {currency}",
                text(p.get("unit")),
                text(p.get("as_of")),
                text(p.get("source")),
            )
            for p in (body.get("cost") or {}).get("prices") or []
        ),
        1,
    )
    told = bool(line.kept.get("details"))  # the rung's own table has it, and more
    return Extra(tables=[prices] if told else [each, prices])


def answers(line: RungLine, body: Body, objectives: Body) -> Extra:
    """Draw the gain in score, by grader, class and language."""
    found: Body = body.get("answers") or {}
    parts = found.get("parts") or {}
    drawn = [
        charts.interval(
            f"{name} ({number(p.get('pairs'))})",
            p.get("delta"),
            p.get("ci_low"),
            p.get("ci_high"),
            (parts.get(name) or {}).get("verdict"),
        )
        for name, p in (found.get("paired") or {}).items()
    ]
    return Extra(
        pictured(
            charts.draw_intervals(drawn, "score minus the baseline's", [("as before", 0.0)]),
            "Gain in score over the baseline, from -1 to 1, with the number of prompts: the mean "
            "(mark) and its 95 % interval (line).",
        )
    )


def _rate(per_s: Any) -> str:
    """Return a rate as the rung writes it in its tables."""
    return f"{per_s:.3g}/s" if isinstance(per_s, int | float) else text(per_s)


def _times(rate: str, multiples: Body) -> str:
    multiple = multiples.get(rate)
    return rate if multiple is None else f"{rate} ({multiple:.3g} × the real rate)"
