"""The hash chain over evidence rows: a later change to any row shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qafila.core.fingerprint import canonical_json

GENESIS = "0" * 64


@dataclass(frozen=True)
class Link:
    """One stored evidence row as far as the chain is concerned."""

    number: int
    body: Mapping[str, object]
    previous: str
    digest: str


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


def verify_chain(links: Iterable[Link], *, head: tuple[int, str] | None) -> ChainCheck:
    """Walk the links in order and compare with the recorded head (last number, last digest)."""
    problems: list[str] = []
    previous, expected_number, rows = GENESIS, 1, 0
    for link in links:
        rows += 1
        if link.number != expected_number:
            problems.append(f"row {expected_number} is missing before row {link.number}")
        if link.previous != previous:
            problems.append(f"row {link.number} does not follow the row before it")
        if link_digest(link.previous, link.number, link.body) != link.digest:
            problems.append(f"row {link.number} was changed after it was written")
        previous, expected_number = link.digest, link.number + 1
    if head is not None and (expected_number - 1, previous) != head:
        problems.append(f"the chain ends at row {expected_number - 1}, the head says {head[0]}")
    return ChainCheck(rows, tuple(problems))
