"""What a workload file says. Unknown fields are refused; every field has a meaning and a bound."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from qafila.workload.audit_sources import ClusterSource, MetricsSource, named_once
from qafila.workload.corpus import Corpus, Identifier, Model, Name
from qafila.workload.inference import AnswerObjectives, Inference
from qafila.workload.router import AnyRouter
from qafila.workload.timetable import Freeze, Windows

Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+(/.*)?$")]

ModelName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$", min_length=1, max_length=200)
]


class Endpoint(Model):
    """One arm of the service."""

    url: Url = Field(
        description="Address of this arm: http or https, host and port. A path is allowed only "
        "behind `service.alias`, and stands for /v1 there."
    )
    model: ModelName | None = Field(
        None, description="What this provider calls the model; needs `service.alias`."
    )
    credential_file: str | None = Field(
        None,
        max_length=1000,
        description="File on Envoy's machine, in its SDS form, with a secret named `credential` "
        "that is sent as `authorization`; none: the user's own is passed on.",
    )
    ca_file: str | None = Field(
        None,
        max_length=1000,
        description="Authorities that vouch for an https address; none: the system's.",
    )


class Service(Model):
    """The service in front of the corpus: what serves now, what is on trial, what routes."""

    baseline: Endpoint
    candidate: Endpoint
    router: AnyRouter
    alias: ModelName | None = Field(
        None,
        description="Model name that users send; Envoy puts each arm's own in its place, so that "
        "a provider is changed without touching the application.",
    )
    idempotent_posts: bool = Field(
        False, description="POST may be asked twice: of the baseline, when the candidate fails."
    )
    per_try_timeout_s: float | None = Field(
        None,
        gt=0,
        le=3_600,
        description="After it a request that may be asked twice is asked of the baseline; well "
        "above the slowest normal answer. None: 5, behind an alias 60.",
    )
    answer_timeout_s: float = Field(
        120, gt=0, le=86_400, description="Longest that any answer may take, streams too."
    )

    @property
    def try_s(self) -> float:
        """Return how long one try may take, the default filled in; s."""
        given = self.per_try_timeout_s or (60.0 if self.alias else 5.0)
        return min(given, self.answer_timeout_s)

    @model_validator(mode="after")
    def _models_and_times_fit(self) -> Service:
        if self.alias is None and (self.baseline.model or self.candidate.model):
            raise ValueError("service.alias is needed beside a model of an arm")
        if (self.per_try_timeout_s or 0) > self.answer_timeout_s:
            raise ValueError("per_try_timeout_s is longer than answer_timeout_s")
        return self


class TableQueries(Model):
    """Judged queries in a table: query_id, text, relevant key, grade."""

    kind: Literal["table"] = Field(description="A table beside the documents.")
    table: Identifier = Field(
        description="Table with query_id, text, relevant, grade; a row a judgement. Columns class "
        "and language, where there are some, are judged one by one."
    )
    block: Name | None = Field(None, description="Its database; none: the source's.")


class GeneratedQueries(Model):
    """Known-item queries made from the corpus, for when nobody has judged any."""

    kind: Literal["generated"] = Field(
        "generated",
        description="A document's title, or some of its words, asks for that document: this "
        "favours keyword search, and every verdict by it says so.",
    )
    queries: int = Field(300, ge=30, le=10_000, description="How many, of as many documents.")
    seed: int = Field(7, ge=0, description="Same seed, same corpus, same queries.")


class Queries(Model):
    """Questions whose right answers are known; the ladder judges quality by them.

    Left out: they are generated.
    """

    judged: Annotated[TableQueries | GeneratedQueries, Field(discriminator="kind")] = (
        GeneratedQueries()
    )


class AtMost(Model):
    at_most: float = Field(ge=0, le=1, description="Share of answers that may be bad so.")


class AtMostRatio(Model):
    at_most_ratio: float = Field(ge=1, le=10, description="Candidate over baseline.")


class CostRatio(Model):
    at_most_ratio: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Candidate's cost of a query over the baseline's; none: shown, not judged.",
    )


class AtLeastDelta(Model):
    at_least_delta: float = Field(ge=-1, le=1, description="Candidate minus baseline.")


class LeastOverlap(Model):
    at_least: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the first ten that must stay; none: change decides nothing.",
    )


class DeclaredFaults(Model):
    """Faults that the service itself declares, in the response header ``x-qafila-bad``.

    One without an objective is counted and shown, and decides nothing.
    """

    ungrounded: AtMost | None = Field(
        None, description="Share of answers that may say what their sources do not."
    )
    over_budget: AtMost | None = Field(
        None, description="Share of answers that may take more tokens than one may."
    )
    flagged: AtMost | None = Field(
        None, description="Share of answers that may hit a guardrail of the service's own."
    )


class Objectives(Model):
    """What must hold for the candidate to serve."""

    error_rate: AtMost = AtMost(at_most=0.001)
    latency_p95: AtMostRatio = AtMostRatio(at_most_ratio=1.25)
    ndcg_at_10: AtLeastDelta = AtLeastDelta(at_least_delta=0.0)
    cost_ratio: CostRatio = CostRatio(at_most_ratio=None)
    recall_at_10: float = Field(
        0.9, gt=0, le=1, description="Least share of the exact ten nearest that the index finds."
    )
    answers: AnswerObjectives = Field(
        AnswerObjectives(), description="Of a language model; judged when there is `inference`."
    )
    overlap_at_10: LeastOverlap = LeastOverlap(at_least=None)
    guardrails: DeclaredFaults = Field(
        DeclaredFaults(), description="What else makes an answer bad, where the service says so."
    )
    harm_ratio: float = Field(
        2.0, gt=1.05, le=10, description="Relative rate of bad answers the canary must rule out."
    )


Percent = Annotated[int, Field(ge=0, le=100)]


class Rollout(Model):
    """How fast the canary goes up, and when a person is asked."""

    weights: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        [1, 5, 25, 50, 100], description="Percent on the candidate, step by step; ends at 100."
    )
    approve_above: Percent | list[Percent] = Field(
        25, description="A person is asked before the first weight above this, or each of these."
    )
    approvers: list[Annotated[str, Field(min_length=2, max_length=100)]] = Field(
        [], description="Who may approve; high criticality needs this list, else empty: anybody."
    )
    windows: Windows | None = Field(
        None, description="Hours in which weights may rise; none: at any time."
    )
    freezes: list[Freeze] = Field([], description="Times in which no weight rises.")
    shadow_percent: Percent = Field(
        10,
        description="Percent of the user requests that the candidate gets as copies before the "
        "first weight, where the router can; 0: none.",
    )
    shadow_seconds: float = Field(
        5, ge=1, le=86_400, description="Least seconds of copies before the first weight."
    )
    drill_weight: int = Field(1, ge=1, le=50, description="Percent that the drill goes to.")
    deadline_minutes: float = Field(
        60, gt=0, le=10_080, description="Not through by then, all traffic goes back."
    )
    hold_hours: float = Field(
        24, ge=0, le=2_160, description="How long the old index is meant to be kept."
    )
    bake_seconds: float = Field(
        10, ge=1, le=86_400, description="Least seconds at 100 % before the pointer row moves."
    )
    minimum_requests: int = Field(
        200, ge=10, description="Requests (both arms) a step sees before it may pass."
    )
    blast_radius: int = Field(
        100, ge=1, description="Bad answers the canary may give in one rollout, whatever the test."
    )

    @model_validator(mode="after")
    def _weights_rise_to_100(self) -> Rollout:
        if self.weights != sorted(set(self.weights)) or not self.weights or self.weights[-1] != 100:
            raise ValueError("weights must rise and end at 100")
        return self

    @property
    def approval_weights(self) -> tuple[int, ...]:
        """Return the weights above which a person is asked, rising."""
        above = self.approve_above
        return (above,) if isinstance(above, int) else tuple(sorted(set(above)))


class Budget(Model):
    """Money is in one currency, named once."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(
        "USD", description="The price book is in USD; another currency is refused."
    )
    spend_cap: float = Field(
        5, ge=0, description="What one generation may spend on embeddings and on golden prompts."
    )
    monthly: float = Field(800, ge=0, description="What the workload may cost in a month.")


class ProductPlan(Model):
    """Something that the product is to do, and by when; evidence for the need of AI."""

    what: str = Field(min_length=3, max_length=300, description="In a few words.")
    kind: Literal["search", "assistant", "generation", "classification", "other"] = Field(
        description="What a model would do in it."
    )
    within_months: int = Field(ge=0, le=60, description="Months from now until it is used.")


FilePath = Annotated[str, Field(min_length=1, max_length=1000)]


class AuditSources(Model):
    """What inventory-audit reads unless a run says otherwise.

    Relative paths start at QAFILA_HOME.
    """

    account: Name | None = Field(None, description="Connection to the AWS account.")
    bill: list[FilePath] = Field(
        [],
        max_length=36,
        description="Bills, a path or several: FOCUS, AWS CUR, Azure EA or OCI exports, CSV or "
        "Parquet, gzip or not. None: cost is reported as not known.",
    )
    kubernetes: list[ClusterSource] = Field(
        [],
        max_length=20,
        description="Connections to clusters: a name, or `{block: NAME, namespaces: [NAME, …]}`.",
    )
    postgres: list[Name] = Field([], max_length=40, description="Connections to databases.")
    prometheus: list[MetricsSource] = Field(
        [],
        max_length=20,
        description="Servers: an address, or `{url: ADDRESS, header_file: PATH}`.",
    )
    traces: list[FilePath] = Field(
        [], max_length=100, description="Traces as JSON: OTLP, Jaeger, Zipkin v2, AWS X-Ray."
    )
    flow_logs: list[FilePath] = Field(
        [], max_length=100, description="VPC flow logs, text or Parquet."
    )
    code: list[FilePath] = Field(
        [], max_length=100, description="Folders of source code to look for vendors' APIs in."
    )
    plans: list[ProductPlan] = Field([], max_length=50, description="What the product is to do.")

    @field_validator("bill", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return [given] if isinstance(given, str) else [] if given is None else given

    @field_validator("kubernetes")
    @classmethod
    def _each_cluster_once(cls, given: list[ClusterSource]) -> list[ClusterSource]:
        named_once(((one.block, one) for one in given), "namespaces")
        return given

    @field_validator("prometheus")
    @classmethod
    def _each_server_once(cls, given: list[MetricsSource]) -> list[MetricsSource]:
        named_once(((one.url.rstrip("/"), one.header_file) for one in given), "headers")
        return given


class Projection(Model):
    """What the next 12 months need: the volumes that the architecture is costed for."""

    queries_per_month: int = Field(ge=0, description="Searches in a month.")
    peak_requests_per_s: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="Searches a second at the busiest; none: three times the month's mean.",
    )
    documents: int | None = Field(None, ge=0, description="None: what the source holds today.")
    growth_per_year: float = Field(0.5, ge=-0.9, le=100, description="0.5 is +50 % a year.")
    generated_tokens_per_query: int = Field(
        0, ge=0, description="0: search only; else what a language model writes per query."
    )


class Compliance(Model):
    """Facts for GDPR and the Moroccan law 09-08."""

    personal_data: Literal["none", "ordinary", "sensitive"] = Field(
        description="What the corpus holds about persons."
    )
    hosting: list[Annotated[str, Field(pattern=r"^[A-Z]{2}$")]] = Field(
        min_length=1, description="Countries, two letters, where the data may be."
    )
    purpose: str = Field(min_length=3, description="What the data is used for, in words.")


class Monitoring(Model):
    """Where language-model traces and infrastructure metrics are to go."""

    traces: str | None = Field(None, description="For instance langfuse.")
    metrics: str | None = Field(None, description="For instance prometheus.")


class Skills(Model):
    """Who can run this, and how gaps will be closed."""

    ai: list[str] = Field([], description="Who knows models and retrieval.")
    infrastructure: list[str] = Field([], description="Who runs databases and routers.")
    gaps: list[str] = Field([], description="Each gap with its plan: 'GPU ops: course in June'.")


class Workload(Model):
    """One service with its corpus, embedder, target, router, queries, objectives and facts."""

    name: Name = Field(description="Lower-case words joined by '-'; the key of everything else.")
    owner: str = Field(min_length=3, description="Who is asked; an address or a team.")
    criticality: Literal["low", "medium", "high"] = Field(
        description="How much hangs on it; high: two approve, and a lower one settles first."
    )
    corpus: Corpus
    service: Service
    queries: Queries = Queries()
    inference: Inference | None = Field(
        None, description="Two language models to compare by golden prompts."
    )
    objectives: Objectives = Objectives()
    rollout: Rollout = Rollout()
    budget: Budget = Budget()
    projection: Projection
    compliance: Compliance
    audit: AuditSources = Field(AuditSources(), description="What the audit reads.")
    monitoring: Monitoring = Monitoring()
    skills: Skills = Skills()

    @property
    def judged_table(self) -> tuple[str, str] | None:
        """Return the connection and the table of judged queries; None: they are generated."""
        judged = self.queries.judged
        if isinstance(judged, GeneratedQueries):
            return None
        block = judged.block or self.corpus.source.block
        assert block is not None  # see below
        return block, judged.table

    @model_validator(mode="after")
    def _queries_are_somewhere(self) -> Workload:
        if self.corpus.source.kind not in ("postgres", "pgvector"):
            judged = self.queries.judged
            if isinstance(judged, TableQueries) and judged.block is None:
                raise ValueError("queries.judged.block is needed: the source is no database")
            if self.corpus.live_sync:
                raise ValueError("corpus.live_sync follows a PostgreSQL table only")
        return self
