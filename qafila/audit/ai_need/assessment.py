"""Put the questions to a workload file and to an estate; what nobody answered stays open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qafila.audit.ai_need import evidence as showing
from qafila.audit.ai_need.demand import Serving, Texts, takes_of
from qafila.audit.ai_need.evidence import ModelUse, listed, model_uses_in, texts_in
from qafila.audit.ai_need.signal import HORIZON_MONTHS, Candidate, Need, Signal
from qafila.audit.estate import Outcome, Resource
from qafila.workload.model import ProductPlan, Workload

_WRITES = (Need.ASSISTANT, Need.GENERATION)
_NOBODYS = "(without an app tag)"
# Which collectors could have answered; one of them complete and none of them closed is an answer.
_TEXT = ("s3", "postgres-texts")
_GPU = ("ec2", "ecs", "kubernetes-workloads")
_ENDPOINT = ("elb", "lambda", "ecs", "api-gateway", "opensearch", "kubernetes-workloads")
_TALK = ("postgres-databases",)
_CALLS = ("lambda", "ecs", "bedrock", "sagemaker", "kubernetes-workloads")
_VECTORS = ("postgres-texts", "opensearch", "kubernetes-workloads")


@dataclass(frozen=True)
class CorpusVolume:
    """What a workload's own corpus holds today."""

    rows: int
    size_bytes: int

    @property
    def average_bytes(self) -> float | None:
        return self.size_bytes / self.rows if self.rows else None


def assess_workload(
    workload: Workload,
    corpus: CorpusVolume | None,
    *,
    resources: Sequence[Resource] = (),
    model_uses: Sequence[ModelUse] | None = None,
    serving: Serving | None = None,
) -> Candidate:
    """Return the candidate that the workload file itself describes.

    ``corpus`` None: it could not be measured. ``resources`` with the tag ``app`` of the workload's
    name add the models they call. ``model_uses`` None: nobody looked; empty: there are none.
    """
    projection = workload.projection
    asked, tokens = projection.queries_per_month, projection.generated_tokens_per_query
    own = [r for r in resources if r.tags.get("app") == workload.name]
    uses = [u for u in (*(model_uses or ()), *model_uses_in(own)) if u.subject == workload.name]
    candidate = Candidate(
        workload.name,
        workload.owner,
        (
            Signal(
                "text corpus",
                4,
                None if corpus is None else corpus.rows > 0,
                "it could not be measured"
                if corpus is None
                else f"{corpus.rows} documents, {corpus.size_bytes} bytes of text, counted in "
                f"{workload.corpus.source.name}",
                "how much text does it hold?",
            ),
            Signal(
                "people search it",
                4,
                asked > 0,
                f"{asked} queries a month, from the workload file",
                "",
                Need.SEARCH,
                HORIZON_MONTHS,
            ),
            Signal(
                "judged queries",
                1,
                workload.judged_table is not None,
                "none, from the workload file"
                if workload.judged_table is None
                else f"table {workload.judged_table[1]}, from the workload file",
            ),
            Signal(
                "writes answers with a model",
                2,
                tokens > 0,
                f"{tokens} generated tokens a query, from the workload file",
                "",
                Need.ASSISTANT,
                HORIZON_MONTHS,
            ),
            Signal(
                "grows",
                1,
                projection.growth_per_year > 0,
                f"{projection.growth_per_year:+.0%} a year, from the workload file",
            ),
            _planned(2, workload.audit.plans or None),
            _calls(1, uses, None if model_uses is None else False),
        ),
    )
    texts = [] if corpus is None else [Texts(corpus.rows or None, corpus.size_bytes)]
    return _with_takes(
        candidate,
        texts,
        serving,
        dimensions=workload.corpus.embedder.dimensions,
        generated=asked * tokens if tokens else None,
    )


def assess_estate(
    resources: Sequence[Resource],
    outcomes: Mapping[str, str],
    *,
    model_uses: Sequence[ModelUse] | None = None,
    plans: Mapping[str, Sequence[ProductPlan]] | None = None,
    besides: frozenset[str] = frozenset(),
    serving: Serving | None = None,
) -> tuple[Candidate, ...]:
    """Return one candidate for each app, or database, in which something speaks for AI.

    An app is what carries its ``app`` tag; a database without an app of its name stands for
    itself. What the estate can show is answered from it, when the collectors that could show it
    were complete (``outcomes``: the worst one of each collector); plans and numbers of queries
    are in no estate, so they stay open and go to the owner, unless ``plans`` has them by app.
    ``besides``: workloads that are assessed by their own file.
    """
    groups: defaultdict[str, list[Resource]] = defaultdict(list)
    owners: defaultdict[str, set[str]] = defaultdict(set)
    apps = {r.tags["app"] for r in resources if r.tags.get("app")}
    for resource in resources:
        subject = _subject(resource, apps)
        if subject:
            groups[subject].append(resource)
            owners[subject] |= {o for o in (resource.tags.get("owner"),) if o}
    uses: defaultdict[str, list[ModelUse]] = defaultdict(list)
    for use in (*model_uses_in(resources), *(model_uses or ())):
        uses[use.subject or _NOBODYS].append(use)
    candidates = []
    for subject in sorted({*groups, *uses} - besides):
        members = sorted(groups[subject], key=lambda r: r.id)
        owner = min(owners[subject], default=_whoever(subject))
        looked = model_uses is not None
        found = _candidate(
            subject,
            owner,
            members,
            outcomes,
            uses[subject],
            looked=looked,
            plans=(plans or {}).get(subject),
        )
        if any(s.found for s in found.signals):
            candidates.append(_with_takes(found, texts_in(members), serving))
    return tuple(candidates)


def _candidate(
    subject: str,
    owner: str,
    members: Sequence[Resource],
    outcomes: Mapping[str, str],
    uses: Sequence[ModelUse],
    *,
    looked: bool,
    plans: Sequence[ProductPlan] | None,
) -> Candidate:
    text, where = showing.text_evidence(members)
    gpu, machines = showing.gpu_evidence(members)
    endpoint, served, answers = showing.endpoint_evidence(members)
    talk, tables = showing.talk_evidence(members)
    vectors, kept = showing.vector_evidence(members)
    no_use = _answer(False, outcomes, _CALLS, looked=looked)
    return Candidate(
        subject,
        owner,
        (
            _seen(
                Signal("text corpus", 3, text, where, "where does its text live?"), outcomes, _TEXT
            ),
            _seen(
                Signal(
                    "GPU in use",
                    2,
                    gpu,
                    machines,
                    "does it use a GPU elsewhere?",
                    Need.GENERATION,
                    0,
                ),
                outcomes,
                _GPU,
            ),
            _seen(
                Signal(
                    "search endpoint",
                    2,
                    endpoint,
                    served,
                    "do people search in it?",
                    Need.ASSISTANT if answers else Need.SEARCH,
                ),
                outcomes,
                _ENDPOINT,
            ),
            _seen(
                Signal(
                    "tickets, chats or mails",
                    2,
                    talk,
                    tables,
                    "does a database of it hold tickets, chats or mails?",
                    Need.ASSISTANT,
                ),
                outcomes,
                _TALK,
            ),
            _seen(
                Signal(
                    "vectors", 1, vectors, kept, "does it keep vectors somewhere?", Need.SEARCH, 0
                ),
                outcomes,
                _VECTORS,
            ),
            _calls(3, uses, no_use),
            Signal("people search it", 3, None, "", "how many queries a month?", Need.SEARCH),
            _planned(4, plans),
        ),
    )


def _whoever(subject: str) -> str:
    """Return whom to ask where no tag names an owner."""
    whose = "these" if subject == _NOBODYS else subject
    return f"whoever runs {whose} (no owner tag)"


def _subject(resource: Resource, apps: set[str]) -> str:
    """Return the app of a resource, or its database; empty: it belongs to none."""
    if app := resource.tags.get("app"):
        return app
    if not resource.kind.startswith("postgres:"):
        return ""
    database = str(resource.facts.get("database") or "")
    if not database or resource.kind == "postgres:client":
        return ""
    return database if database in apps else f"database {database} on {resource.region}"


def _planned(weight: int, plans: Sequence[ProductPlan] | None) -> Signal:
    name, ask = (
        "planned within 12 months",
        (
            "is a search, an assistant or another use of a model planned, and by when? "
            "(audit.plans in the workload file)"
        ),
    )
    if plans is None:
        return Signal(name, weight, None, "", ask)
    near = sorted(
        (p for p in plans if p.within_months <= HORIZON_MONTHS),
        key=lambda p: (p.within_months, p.kind, p.what),
    )
    if not near:
        later = min((p.within_months for p in plans), default=None)
        said = "none" if later is None else f"the next one in {later} months"
        return Signal(name, weight, False, f"{said}, from the workload file", ask)
    evidence = "; ".join(f"{p.what} ({p.kind}, {p.within_months} months)" for p in near)
    kinds = [Need(p.kind) for p in near if p.kind != "other"]
    speaks = max(kinds, key=list(Need).index, default=None)
    return Signal(name, weight, True, evidence, ask, speaks, near[0].within_months)


def _calls(weight: int, uses: Sequence[ModelUse], otherwise: bool | None) -> Signal:
    found = True if uses else otherwise
    evidence = "" if found is None else listed(f"{u.what} ({u.source})" for u in uses)
    return Signal(
        "calls a model today",
        weight,
        found,
        evidence,
        "does it call a model today, and which?",
        Need.GENERATION,
        0,
    )


def _answer(
    found: bool, outcomes: Mapping[str, str], collectors: Sequence[str], *, looked: bool = False
) -> bool | None:
    """Return what was found; a "no" only when somebody looked and nobody was turned away.

    ``looked``: somebody other than these collectors did.
    """
    if found:
        return True
    asked = {outcomes[c] for c in collectors if c in outcomes}
    return False if (asked or looked) and asked <= {Outcome.COMPLETE.value} else None


def _seen(signal: Signal, outcomes: Mapping[str, str], collectors: Sequence[str]) -> Signal:
    if _answer(bool(signal.found), outcomes, collectors) is not None:
        return signal
    closed = [
        f"{c} is {outcomes[c]}" for c in collectors if outcomes.get(c, "complete") != "complete"
    ]
    evidence = ", ".join(closed) if closed else "no collector looked"
    return replace(signal, found=None, evidence=evidence, ask=f"{signal.ask} ({evidence})")


def _with_takes(
    candidate: Candidate,
    texts: Sequence[Texts],
    serving: Serving | None,
    *,
    dimensions: int | None = None,
    generated: int | None = None,
) -> Candidate:
    points = candidate.points_to
    if points is Need.NONE:
        return candidate
    sizes = {} if dimensions is None else {"dimensions": dimensions}
    return replace(
        candidate,
        takes=takes_of(
            texts,
            writes=points in _WRITES,
            serving=serving,
            generated_tokens_per_month=generated,
            **sizes,
        ),
    )
