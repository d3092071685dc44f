"""Which workloads will need AI within 12 months: signals with evidence, or a question to a person.

A score is the weighted share of the signals that speak for a need, among those that were
answered. Below 80 % answered it is withheld, and says what to ask whom: a number made of gaps
would be read as a finding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qafila.core.estate import Outcome, Resource, has_gpu
from qafila.core.workload import Workload

LEAST_COVERAGE = 0.8
_SERVES = frozenset({"ec2:instance", "elb:load-balancer", "elb:target-group", "lambda:function"})
_MEANT_FOR_SEARCH = ("search", "assistant", "chat", "answer")


@dataclass(frozen=True)
class Signal:
    """One question. ``found`` None: nobody answered it; then ``ask`` says whom to ask."""

    name: str
    weight: int
    found: bool | None
    evidence: str
    ask: str = ""


@dataclass(frozen=True)
class Candidate:
    """One workload or group of resources, and how much speaks for a need of AI."""

    subject: str
    owner: str
    signals: tuple[Signal, ...]

    @property
    def coverage(self) -> float:
        """Return the weighted share of the questions that were answered."""
        total = sum(s.weight for s in self.signals)
        return sum(s.weight for s in self.signals if s.found is not None) / total if total else 0.0

    @property
    def score(self) -> float | None:
        """Return the weighted share of answered signals that are true; None when withheld."""
        answered = sum(s.weight for s in self.signals if s.found is not None)
        if not answered or self.coverage < LEAST_COVERAGE:
            return None
        return sum(s.weight for s in self.signals if s.found) / answered

    @property
    def questions(self) -> tuple[str, ...]:
        """Return what to ask whom, for what nobody answered."""
        return tuple(f"{self.owner}: {s.ask}" for s in self.signals if s.found is None)


@dataclass(frozen=True)
class CorpusVolume:
    """What a workload's own corpus holds today."""

    rows: int
    size_bytes: int

    @property
    def average_bytes(self) -> float | None:
        return self.size_bytes / self.rows if self.rows else None


def assess_workload(workload: Workload, corpus: CorpusVolume) -> Candidate:
    """Return the candidate that the workload file itself describes: every signal is answered."""
    projection = workload.projection
    return Candidate(
        workload.name,
        workload.owner,
        (
            Signal(
                "text corpus", 3, corpus.rows > 0,
                f"{corpus.rows} documents, {corpus.size_bytes} bytes of text, counted in "
                f"{workload.corpus.source.name}",
            ),
            Signal(
                "people search it", 3, projection.queries_per_month > 0,
                f"{projection.queries_per_month} queries a month, from the workload file",
            ),
            Signal(
                "judged queries", 1, workload.judged_table is not None,
                "none, from the workload file" if workload.judged_table is None
                else f"table {workload.judged_table[1]}, from the workload file",
            ),
            Signal(
                "writes answers with a model", 2, projection.generated_tokens_per_query > 0,
                f"{projection.generated_tokens_per_query} generated tokens a query, from the "
                "workload file",
            ),
            Signal(
                "grows", 1, projection.growth_per_year > 0,
                f"{projection.growth_per_year:+.0%} a year, from the workload file",
            ),
        ),
    )  # fmt: skip


def assess_estate(
    resources: Sequence[Resource], outcomes: Mapping[str, str]
) -> tuple[Candidate, ...]:
    """Return one candidate for each ``app`` tag that holds text or a GPU.

    What an account can show is answered from it, when its collector was complete; plans and
    numbers of queries are not in an account, so they stay open and go to the owner.
    """
    apps: defaultdict[str, list[Resource]] = defaultdict(list)
    for resource in resources:
        if app := resource.tags.get("app"):
            apps[app].append(resource)
    candidates = []
    for app, members in sorted(apps.items()):
        text = sum(int(r.facts.get("text_bytes", 0)) for r in members)
        gpus = [r for r in members if has_gpu(str(r.facts.get("type", "")))]
        if not text and not gpus:
            continue
        owner = next((o for r in members if (o := r.tags.get("owner"))), "owner unknown")
        searching = [
            r
            for r in members
            if r.kind in _SERVES and any(word in r.name for word in _MEANT_FOR_SEARCH)
        ]
        candidates.append(
            Candidate(
                app,
                owner,
                (
                    _seen("text corpus", 3, bool(text), f"{text} bytes of text in objects",
                          "where does its text live?", outcomes, "s3"),
                    _seen("GPU in use", 2, bool(gpus),
                          ", ".join(f"{r.name} {r.facts['type']}" for r in gpus) or "none",
                          "does it use a GPU elsewhere?", outcomes, "ec2"),
                    _seen("search endpoint", 2, bool(searching),
                          ", ".join(sorted(r.name for r in searching)) or "no name says so",
                          "do people search in it?", outcomes, "elb"),
                    Signal("people search it", 3, None, "", "how many queries a month?"),
                    Signal("planned within 12 months", 2, None, "",
                           "is an assistant or semantic search planned, and when?"),
                ),
            )
        )  # fmt: skip
    return tuple(candidates)


def _seen(
    name: str, weight: int, found: bool, evidence: str, ask: str,
    outcomes: Mapping[str, str], collector: str,
) -> Signal:  # fmt: skip
    if not found and outcomes.get(collector) != Outcome.COMPLETE.value:
        state = outcomes.get(collector, "not asked")
        return Signal(name, weight, None, f"collector {collector}: {state}", ask)
    return Signal(name, weight, found, evidence, ask)
