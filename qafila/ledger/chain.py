"""The hash chain over evidence rows: a later change to any row shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qafila.workload.fingerprint import canonical_json

GENESIS = "0" * 64


@dataclass(frozen=True)
class Link:
    """One stored evidence row as far as the chain is concerned."""

    number: int
    body: Mapping[str, object]
    previous: str
    digest: str


@dataclass(frozen=True)
class SeenHead:
    """The last row of the chain as it was seen before, and the file that says so.

    ``problem`` says why the file does not count, where it does not.
    """

    number: int
    digest: str
    kept_in: str
    problem: str | None = None


@dataclass(frozen=True)
class ChainCheck:
    """The outcome of walking the chain: rows seen and what is wrong with it, if anything."""

    rows: int
    problems: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not self.problems


def link_digest(previous: str, number: int, body: Mapping[str, object]) -> str:
    """Return SHA-256 over the previous digest, the row's number and its canonical body."""
    payload = previous.encode() + b"\n" + str(number).encode() + b"\n" + canonical_json(body)
    return hashlib.sha256(payload).hexdigest()


def verify_chain(
    links: Iterable[Link], *, head: tuple[int, str] | None, seen: SeenHead | None = None
) -> ChainCheck:
    """Walk the links in order; compare with the recorded head (last number, last digest).

    ``seen`` is the head as it was kept outside of the ledger: a chain that is shorter than it, or
    has another row in its place, was rewritten although its digests fit.
    """
    problems: list[str] = []
    previous, expected_number, rows = GENESIS, 1, 0
    seen_digest = GENESIS if seen is not None and seen.number == 0 else None
    for link in links:
        rows += 1
        if link.number != expected_number:
            problems.append(f"row {expected_number} is missing before row {link.number}")
        if link.previous != previous:
            problems.append(f"row {link.number} does not follow the row before it")
        if link_digest(link.previous, link.number, link.body) != link.digest:
            problems.append(f"row {link.number} was changed after it was written")
        if seen is not None and link.number == seen.number:
            seen_digest = link.digest
        previous, expected_number = link.digest, link.number + 1
    if head is None:
        problems.append("the row that says where the chain ends is missing")
    elif (expected_number - 1, previous) != head:
        problems.append(f"the chain ends at row {expected_number - 1}, the head says {head[0]}")
    if seen is not None:
        problems += _differs(seen, expected_number - 1, seen_digest)
    return ChainCheck(rows, tuple(problems))


def _differs(seen: SeenHead, last: int, digest: str | None) -> list[str]:
    """Return how the chain differs from the head that was seen before, if it does."""
    if seen.problem is not None:
        return [f"{seen.kept_in} was not written by this home: {seen.problem}"]
    if last < seen.number:
        return [
            f"the chain ends at row {last}, but it had {seen.number} rows when it was last seen"
            f" ({seen.kept_in})"
        ]
    if digest != seen.digest:
        return [f"row {seen.number} is another one than when it was last seen ({seen.kept_in})"]
    return []
