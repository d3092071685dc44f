"""Who may approve, and how many it takes. Pure: names and answers in, a state out.

Coming down needs nothing: anybody may say no, and one no is a no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qafila.text.skeleton import folded, hidden_characters, look_alike

Criticality = Literal["low", "medium", "high"]
Choice = Literal["approve", "reject"]
LEAST_LETTERS = 2


def person(name: str) -> str:
    """Return a name without case and spaces, so that one person is one however it is typed.

    Letters that look alike are one letter: a Cyrillic а makes no second person.
    """
    return folded(name)


def approvers_needed(criticality: Criticality) -> int:
    """Return how many different persons have to approve."""
    return 2 if criticality == "high" else 1


def refusal(
    by: str,
    decision: Choice,
    *,
    needed: int,
    requested_by: str | None,
    approved_by: Sequence[str],
    approvers: Sequence[str] = (),
) -> str | None:
    """Return why this answer does not count, if it does not; ``approved_by`` are those so far.

    ``approvers`` are those who may approve; empty: anybody who is named may.

    Who asked for a rollout does not approve it: alone they would be the only one, and of two the
    other one would be.
    """
    if len("".join(by.split())) < LEAST_LETTERS:
        return "an answer needs the name of who decides."
    if hidden := hidden_characters(by.strip()):
        return f"the name holds characters that nobody sees: {', '.join(hidden)}."
    if decision == "reject":
        return None
    if approvers and not any(look_alike(by, name) for name in approvers):
        return f"{by.strip()} is not among the approvers: {', '.join(approvers)}."
    if any(look_alike(by, name) for name in approved_by):
        return f"{by.strip()} has approved already; {needed} different persons are needed."
    if requested_by is not None and look_alike(by, requested_by):
        others = "somebody else approves" if needed == 1 else f"{needed} others approve"
        return f"{by.strip()} asked for this, so {others}."
    return None


def state_of(
    needed: int, decisions: Sequence[Choice]
) -> Literal["pending", "approved", "rejected"]:
    """Return where a question stands after these answers that count, each of another person."""
    if "reject" in decisions:
        return "rejected"
    return "approved" if len(decisions) >= needed else "pending"


@dataclass(frozen=True)
class Confirmed:
    """One person's last answer as evidence has it, and how many were needed when it was given."""

    person: str
    state: str
    needed: int


def confirmed(answers: Sequence[tuple[str, str, int]]) -> list[Confirmed]:
    """Return each person's last answer; ``answers`` are name, state, persons needed, in order."""
    last = {person(name): Confirmed(person(name), state, needed) for name, state, needed in answers}
    return list(last.values())
