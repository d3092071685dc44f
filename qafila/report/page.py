"""Render the report: one HTML file without script that loads nothing from anywhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

from qafila.report import charts, first_page, wording
from qafila.report.facts import Facts
from qafila.report.sections import sections


def render(facts: Facts) -> str:
    """Return the page. Every name and sentence in it is escaped: data never becomes markup."""
    return _template().render(
        facts=facts,
        sentence=first_page.sentence(facts),
        figures=first_page.figures(facts),
        unseen=first_page.unseen(facts),
        timeline=charts.timeline(facts),
        sections=sections(facts),
        others=[(n, phase) for n, phase in facts.generations if n != facts.generation],
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["moment"] = wording.moment
    environment.filters["text"] = wording.text
    environment.globals["not_measured"] = wording.NOT_MEASURED
    return environment.from_string((files("qafila.report") / "page.html").read_text("utf-8"))
