"""Candidate architectures for one workload, and what each needs and costs a month.

A pattern is compute x storage x topology. Capacity figures are stated assumptions; prices are data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from qafila.decision.prices import (
    HOURS_PER_MONTH,
    Price,
    PriceBook,
    Samples,
    Spread,
    Volumes,
    draw_volumes,
    egress_costs,
    spread,
)
from qafila.stores import sizes as sizing

Compute = Literal[
    "as today",
    "in process",
    "hyperscaler GPU",
    "specialised provider",
    "inference by token",
    "hybrid",
]
Storage = Literal["full-text", "pgvector", "Qdrant"]

SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
PEAK_OVER_MEAN = 3.0
QUERIES_PER_S_PER_VCPU = 25.0  # a hybrid query takes some 10 ms of a core; a quarter of it is used
EMBED_TEXTS_PER_S = 4000.0  # the static embedder on one core, at its slowest measured
GPU_EMBED_TEXTS_PER_S = 500.0  # an open 0.6 B embedding model on one GPU, cautious
EMBEDDING_MODEL_BYTES = 1_200_000_000  # 0.6 B parameters at two bytes
BASE_BYTES = 2 * sizing.GIB  # operating system, PostgreSQL's own, the service and its embedder
RESPONSE_BYTES = 20_000  # ten results with their text excerpt, to the user
QUERY_TOKENS = 20
CONTEXT_TOKENS = 2_000  # what a generated answer reads: ten chunks, cut
SERVING_CONTEXT, SERVING_CONCURRENCY = 4_096, 16
CHURN_PER_MONTH = 0.02
DISK_FACTOR = 2.0  # room for a second generation beside the first
MODEL = "llama-3.1-8b"
HOME_CLOUD = "aws"
TOKEN_VENDORS = (
    ("mistral-embed", "mistral-small-input", "mistral-small-output"),
    ("titan-embed-v2", None, None),
    ("text-embedding-3-small", None, None),
)


@dataclass(frozen=True)
class Need:
    """What the workload asks for: measured volumes, projection, where data may be, money, store.

    ``storage`` is where its index is built; None: anywhere.
    """

    documents: int
    text_bytes: int
    dimensions: int
    queries_per_month: int
    growth_per_year: float
    generated_tokens_per_query: int
    hosting: tuple[str, ...]
    monthly_budget: Decimal
    storage: Storage | None = None

    @property
    def bytes_per_document(self) -> float:
        return self.text_bytes / max(self.documents, 1)


@dataclass(frozen=True)
class Pattern:
    """One named candidate and how hard it would be to leave."""

    name: str
    compute: Compute
    storage: Storage
    topology: str
    lock_in: Literal["low", "medium", "high"]
    lock_in_why: str


PATTERNS = (
    Pattern(
        "stay",
        "as today",
        "full-text",
        "one server, one cloud, self-hosted",
        "low",
        "plain PostgreSQL full-text search",
    ),
    Pattern(
        "in-process-pgvector",
        "in process",
        "pgvector",
        "monolith, one cloud, self-hosted",
        "low",
        "open-source PostgreSQL and an open model inside the service",
    ),
    Pattern(
        "in-process-qdrant",
        "in process",
        "Qdrant",
        "services, one cloud, self-hosted",
        "low",
        "open-source engine, but its own API beside SQL",
    ),
    Pattern(
        "hyperscaler-gpu-pgvector",
        "hyperscaler GPU",
        "pgvector",
        "services, one cloud, self-hosted model",
        "medium",
        "open weights, but GPU quota and images of one cloud",
    ),
    Pattern(
        "specialist-gpu-qdrant",
        "specialised provider",
        "Qdrant",
        "services, several clouds, self-hosted model",
        "low",
        "plain GPU machines; any provider runs the same containers",
    ),
    Pattern(
        "by-token-pgvector",
        "inference by token",
        "pgvector",
        "services, several vendors, managed model",
        "high",
        "vectors of a closed model: leaving means embedding everything again",
    ),
    Pattern(
        "hybrid-pgvector",
        "hybrid",
        "pgvector",
        "services, several clouds, open model on CPU, rented GPU for bulk",
        "medium",
        "open weights, but two providers to keep in step",
    ),
)


@dataclass(frozen=True)
class Assessment:
    """One pattern, costed and checked. ``fits`` is memory; ``countries`` is where data would be."""

    pattern: Pattern
    monthly: Spread
    network: Spread
    memory_bytes: int
    memory_available_bytes: int
    fits: bool
    serves: bool
    serves_why: str
    resides: bool
    countries: tuple[str, ...]
    machines: tuple[str, ...]
    prices: tuple[Price, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Bill:
    total: Samples
    network: Samples
    needed: int
    available: int
    used: tuple[Price, ...]
    machines: tuple[str, ...]
    notes: tuple[str, ...]


def assess_patterns(
    need: Need, book: PriceBook, *, seed: int, samples: int
) -> tuple[Assessment, ...]:
    """Cost every pattern over the same drawn months: the same seed, the same answer."""
    volumes = draw_volumes(
        need.queries_per_month, need.documents, need.growth_per_year, seed=seed, samples=samples
    )
    return tuple(_assess(p, need, book, volumes) for p in PATTERNS)


def planned_cost(name: str, need: Need, book: PriceBook) -> float:
    """Return the cost of one month exactly at plan, without growth or noise; for thresholds."""
    pattern = next(p for p in PATTERNS if p.name == name)
    return float(_bill(pattern, need, book, _planned(need)).total[0])


def planned_memory(name: str, need: Need, book: PriceBook) -> tuple[int, int]:
    """Return memory needed and memory of the machine taken, at plan."""
    pattern = next(p for p in PATTERNS if p.name == name)
    bill = _bill(pattern, need, book, _planned(need))
    return bill.needed, bill.available


def _planned(need: Need) -> Volumes:
    one = np.ones(1)
    return Volumes(one * need.queries_per_month, one * need.documents, one)


def _assess(pattern: Pattern, need: Need, book: PriceBook, volumes: Volumes) -> Assessment:
    bill = _bill(pattern, need, book, volumes)
    countries = tuple(sorted({p.country for p in bill.used if p.country not in ("", "any")}))
    serves, why = _serves(pattern, need)
    stays = pattern.compute == "as today"
    return Assessment(
        pattern=pattern,
        monthly=spread(bill.total),
        network=spread(bill.network),
        memory_bytes=bill.needed,
        memory_available_bytes=bill.available,
        fits=sizing.MemoryFit(bill.needed, bill.available).fits,
        serves=serves,
        serves_why=why,
        resides=stays or all(c in need.hosting for c in countries),
        countries=() if stays else countries,
        machines=bill.machines,
        prices=bill.used,
        notes=bill.notes,
    )


def _serves(pattern: Pattern, need: Need) -> tuple[bool, str]:
    if pattern.compute == "as today":
        return False, "keyword search has no vectors, and vector search is what is needed"
    if need.generated_tokens_per_query and pattern.compute == "in process":
        return False, "no language model in it, and answers are to be generated"
    return True, "serves vector search" + (
        " and generated answers" if need.generated_tokens_per_query else ""
    )


def _bill(pattern: Pattern, need: Need, book: PriceBook, volumes: Volumes) -> _Bill:
    """Add up machines, GPU, tokens, disk and network of one pattern over the drawn months."""
    documents = int(np.percentile(volumes.documents, 90))  # machines are bought for the busy end
    text_bytes = int(documents * need.bytes_per_document)
    table = sizing.pgvector_table_bytes(documents, need.dimensions, text_bytes)
    index = sizing.hnsw_bytes(documents, need.dimensions)
    used: list[Price] = []
    machines: list[str] = []
    notes: list[str] = []
    per_vcpu = QUERIES_PER_S_PER_VCPU * (0.4 if pattern.compute == "hybrid" else 1.0)
    if pattern.storage == "full-text":
        needed, disk = BASE_BYTES + text_bytes * 2, text_bytes * 3.0
    elif pattern.storage == "pgvector":
        needed, disk = BASE_BYTES + index + table, (index + table) * DISK_FACTOR
    else:
        needed = BASE_BYTES + sizing.qdrant_ram_bytes(documents, need.dimensions)
        disk = (sizing.qdrant_ram_bytes(documents, need.dimensions) + table) * DISK_FACTOR
    server = _pick(book.machines("vm", provider=HOME_CLOUD), need.hosting, needed)
    total = _servers(server, volumes, per_vcpu) * _month(server)
    used.append(server)
    machines.append(server.item)
    available = server.memory_gib * sizing.GIB
    if pattern.storage == "Qdrant":  # the engine on its own machine, the service beside it
        front = _pick(book.machines("vm", provider=HOME_CLOUD), need.hosting, BASE_BYTES)
        total = total + _month(front)
        used.append(front)
        machines.append(front.item)
    gpu_total, gpu_needed, gpu_available = np.zeros_like(total), 0, 0
    if pattern.compute in ("hyperscaler GPU", "specialised provider", "hybrid"):
        tier = "hyperscaler" if pattern.compute == "hyperscaler GPU" else "specialist"
        gpu_needed = _model_bytes(need, book, served=pattern.compute != "hybrid")
        gpu = _pick(book.machines("gpu", tier=tier), need.hosting, gpu_needed)
        gpu_available = gpu.gpu_memory_gib * sizing.GIB
        used.append(gpu)
        if pattern.compute == "hybrid":
            hours = np.maximum(1.0, np.ceil(volumes.documents / GPU_EMBED_TEXTS_PER_S / 3600))
            gpu_total = hours * float(gpu.amount)
            machines.append(f"{gpu.item}, by the hour")
        else:
            count, busy = _gpus(gpu, need, book, volumes)
            gpu_total = count * _month(gpu)
            machines.append(gpu.item)
            notes.append(f"the GPU would be busy {busy:.2%} of the month")
        total = total + gpu_total
    if pattern.compute == "inference by token" or (
        pattern.compute == "hybrid" and need.generated_tokens_per_query
    ):
        embeds = pattern.compute == "inference by token"
        tokens, token_prices = _tokens(need, book, volumes, embeds=embeds)
        total = total + tokens
        used.extend(token_prices)
        machines.append(f"{token_prices[0].provider}, by token")
    storage = book["block-storage"]
    used.append(storage)
    total = total + disk / sizing.GIB * HOURS_PER_MONTH * float(storage.amount)
    gigabytes = volumes.queries * RESPONSE_BYTES / sizing.GIB
    if pattern.compute in ("specialised provider", "inference by token", "hybrid"):
        moved = volumes.documents * CHURN_PER_MONTH * need.bytes_per_document
        moved = (
            moved
            + volumes.queries
            * (CONTEXT_TOKENS if need.generated_tokens_per_query else QUERY_TOKENS)
            * 4
        )
        gigabytes = gigabytes + moved / sizing.GIB
        notes.append("traffic between clouds is costed at the home cloud's egress tiers")
    network = egress_costs(book.tariffs[HOME_CLOUD], gigabytes)
    used.extend(p for i, p in book.prices.items() if i.startswith(f"{HOME_CLOUD}-egress"))
    if gpu_needed > needed:
        needed, available = gpu_needed, gpu_available
    return _Bill(
        (total + network) * volumes.overhead,
        network,
        needed,
        available,
        tuple(used),
        tuple(machines),
        tuple(notes),
    )


def _month(machine: Price) -> float:
    return float(machine.amount) * HOURS_PER_MONTH


def _servers(machine: Price, volumes: Volumes, per_vcpu: float) -> Samples:
    peak = volumes.queries / SECONDS_PER_MONTH * PEAK_OVER_MEAN
    return np.maximum(1.0, np.ceil(peak / (machine.vcpus * per_vcpu)))


def _model_bytes(need: Need, book: PriceBook, *, served: bool) -> int:
    if served and need.generated_tokens_per_query:
        return sizing.serving_bytes(
            book.models[MODEL], context_tokens=SERVING_CONTEXT, concurrency=SERVING_CONCURRENCY
        )
    return EMBEDDING_MODEL_BYTES


def _gpus(gpu: Price, need: Need, book: PriceBook, volumes: Volumes) -> tuple[Samples, float]:
    """Return whole machines per sample, and the share of the month the planned load keeps busy."""
    seconds = volumes.queries / GPU_EMBED_TEXTS_PER_S
    if need.generated_tokens_per_query:
        model = book.models[MODEL]
        speed = sizing.tokens_per_s(
            model, book.gpus[gpu.gpu], book.gpus[model.measured_on], gpu.gpu_count
        )
        seconds = seconds + volumes.queries * need.generated_tokens_per_query / speed
    share = seconds / SECONDS_PER_MONTH
    return np.maximum(1.0, np.ceil(share * PEAK_OVER_MEAN)), float(np.median(share))


def _tokens(
    need: Need, book: PriceBook, volumes: Volumes, *, embeds: bool
) -> tuple[Samples, list[Price]]:
    """Return the token bill per sample, from the cheapest vendor that resides, else the cheapest
    of all (which then fails on residency)."""
    generated = need.generated_tokens_per_query
    vendors = [v for v in TOKEN_VENDORS if not generated or v[2] is not None]
    embed, asked, written = min(
        vendors, key=lambda v: (book[v[0]].country not in need.hosting, book[v[0]].amount)
    )
    used, cost = [], np.zeros_like(volumes.queries)
    if embeds:
        new = volumes.documents * (CHURN_PER_MONTH + max(need.growth_per_year, 0.0) / 12)
        tokens = volumes.queries * QUERY_TOKENS + new * need.bytes_per_document / 4
        cost = cost + tokens / 1e6 * float(book[embed].amount)
        used.append(book[embed])
    if generated and asked and written:
        cost = cost + volumes.queries * CONTEXT_TOKENS / 1e6 * float(book[asked].amount)
        cost = cost + volumes.queries * generated / 1e6 * float(book[written].amount)
        used += [book[asked], book[written]]
    return cost, used


def _pick(machines: Sequence[Price], hosting: tuple[str, ...], needed_bytes: int) -> Price:
    """Return the cheapest machine that fits and resides; else one that fits elsewhere; else the
    largest there is (which then fails on memory)."""

    def memory(p: Price) -> int:
        return (p.gpu_memory_gib or p.memory_gib) * sizing.GIB

    large = [p for p in machines if sizing.MemoryFit(needed_bytes, memory(p)).fits]
    for group in ([p for p in large if p.country in hosting], large):
        if group:
            return group[0]
    return max(machines, key=lambda p: (p.country in hosting, memory(p)))
