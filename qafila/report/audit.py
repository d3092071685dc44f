"""Render one audit as one HTML file that loads nothing; its only script sorts the tables."""

from __future__ import annotations

from qafila.audit.estate import Outcome
from qafila.report.audit_facts import AuditFacts
from qafila.report.audit_first_page import first_page
from qafila.report.audit_sorting import script, script_source
from qafila.report.audit_tables import audit_sections
from qafila.report.page import environment


def render_audit(facts: AuditFacts, picture: str | None = None) -> str:
    """Return the page. Every name and sentence in it is escaped: data never becomes markup.

    ``picture``: the estate by waves as a data address; None: there is nothing to draw.
    """
    return (
        environment()
        .get_template("audit.html")
        .render(
            facts=facts,
            page=first_page(facts),
            sections=audit_sections(facts),
            picture=picture,
            outcomes=[o.value for o in Outcome],
            script=script(),
            script_source=script_source(),
        )
    )
