"""The page of one rollout, and what its run shows in Prefect: both from the same facts."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from qafila.report import rollout_story as story
from qafila.report import rollout_tables as tables
from qafila.report.page import environment
from qafila.report.rollout_facts import RolloutFacts
from qafila.text.foreign_text import markdown_row, markdown_text


@dataclass(frozen=True)
class Artifacts:
    """What a run shows at the end of a canary, each drawn only when it is asked for.

    Names and sentences are kept out of the Markdown's syntax.
    """

    facts: RolloutFacts

    @property
    def verdict(self) -> str:
        """Return the verdict, the sentence, the steps and what nobody could see, as Markdown."""
        facts = self.facts
        rows = "\n".join(map(markdown_row, tables.steps(facts).rows))
        steps = f"| step | weight | requests | verdict | why |\n|---|---|---|---|---|\n{rows}\n\n"
        unseen = "".join(f"- {markdown_text(line)}\n" for line in tables.unseen(facts))
        weight = facts.body.get("final_weight", "no known weight")
        return (
            f"**{story.verdict(facts)}** {facts.workload} g{facts.generation}: "
            f"{markdown_text(story.sentence(facts))}\n\n"
            + (steps if rows else "")
            + f"{markdown_text(story.users(facts))}; {len(facts.looks)} looks, "
            f"candidate at {weight} %.\n"
            + (f"\nWhat we could not see:\n\n{unseen}" if unseen else "")
        )

    @property
    def next_step(self) -> str:
        """Return the next commands as Markdown."""
        facts = self.facts
        promoted = story.verdict(facts) == "PASS"
        going = f"qafila {'rollback' if promoted else 'status'} {facts.workload}"
        return (
            ("The old side stays warm. One word brings it back:" if promoted else "Look at:")
            + f"\n```\n{going}\n```\nThe evidence as files:\n"
            f"```\nqafila evidence export {facts.workload} --rollout {facts.rollout}\n```"
        )

    @property
    def timeline(self) -> str | None:
        """Return the timeline as an image's address; None when the judge never looked."""
        svg = story.timeline(self.facts)
        if svg is None:
            return None
        return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()

    @property
    def timeline_says(self) -> str:
        """Return what the image shows."""
        return (
            "Weights asked, acknowledged and seen; bad answers a look by kind; evidence with its "
            "thresholds; who was asked and what ended it."
        )


def render_rollout(facts: RolloutFacts) -> str:
    """Return the page, escaped; its picture stands in it, and it loads nothing from anywhere."""
    return (
        environment()
        .get_template("rollout.html")
        .render(
            facts=facts,
            verdict=story.verdict(facts),
            sentence=story.sentence(facts),
            figures=story.figures(facts),
            timeline=story.timeline(facts),
            unseen=tables.unseen(facts),
            steps=tables.steps(facts),
            weights=tables.weights(facts),
            kinds=tables.kinds(facts),
            approvals=tables.approvals(facts),
            drill=tables.drill(facts),
            ways_back=tables.ways_back(facts),
            calibration=tables.calibration(facts),
            plan=tables.plan(facts),
            shadow=tables.shadow(facts),
            costs=tables.costs(facts),
            looks=tables.looks(facts),
            evidence=tables.evidence(facts),
        )
    )
