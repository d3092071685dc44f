"""Render reports: each one HTML file without script that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from qafila.report import charts, first_page, inspection
from qafila.report.facts import Facts
from qafila.report.inspection import Inspected
from qafila.report.sections import sections
from qafila.report.validation import WORDS, Validation
from qafila.text import figures as wording


def render(facts: Facts) -> str:
    """Return the page. Every name and sentence in it is escaped: data never becomes markup."""
    return (
        environment()
        .get_template("page.html")
        .render(
            facts=facts,
            sentence=first_page.sentence(facts),
            figures=first_page.figures(facts),
            unseen=first_page.unseen(facts),
            timeline=charts.timeline(facts),
            sections=sections(facts),
            others=[(n, phase) for n, phase in facts.generations if n != facts.generation],
        )
    )


def render_validation(facts: Facts, validation: Validation) -> str:
    """Return the page of one validation, escaped in the same way; its pictures stand in it."""
    return (
        environment()
        .get_template("validation.html")
        .render(facts=facts, validation=validation, words=WORDS)
    )


def render_inspection(inspected: Sequence[Inspected]) -> str:
    """Return the page of an inspection, escaped in the same way."""
    return (
        environment()
        .get_template("inspection.html")
        .render(
            inspected=[
                {
                    "title": inspection.title(one.facts),
                    "looked": f"{inspection.place(one.facts)} · {inspection.looked(one.facts)}",
                    "sentence": one.inspection.sentence,
                    "serious": bool(one.inspection.serious),
                    "findings": one.inspection.findings,
                    "summary": inspection.summary(one.facts),
                    "lengths": charts.lengths(one.facts.observed.norms),
                    "source": one.source,
                }
                for one in inspected
            ],
        )
    )


@cache
def environment() -> Environment:
    """Return what pages are made with: everything is escaped, an unknown name is an error."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: (files("qafila.report") / name).read_text("utf-8")),
    )
    environment.filters["moment"] = wording.moment
    environment.filters["text"] = wording.text
    environment.filters["duration"] = wording.duration
    environment.globals["not_measured"] = wording.NOT_MEASURED
    return environment
