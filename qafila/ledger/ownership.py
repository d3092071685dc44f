"""Which ledger a generation in a target belongs to, and when another may not touch it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from qafila.workload.phases import Phase

SCRATCH_FROM = 1_000_000  # numbers from here on are scratch copies, which belong to nobody

NOT_BEGUN = frozenset({Phase.REGISTERED, Phase.AUDITED, Phase.DESIGNED})
_MET = frozenset({Phase.PROMOTED, Phase.SETTLED, Phase.CLEANED})
# What a ledger says of a generation that it brought where the pointer names it.
_AGREES = {
    "it serves": _MET | {Phase.CANARY},
    "it is on trial": frozenset(
        {
            Phase.BACKFILLED,
            Phase.VALIDATED,
            Phase.DRILLED,
            Phase.CANARY,
            Phase.ROLLED_BACK,
            Phase.ABANDONED,
            Phase.PROMOTED,
        }
    ),
    "a rollback returns to it": _MET,
}


@dataclass(frozen=True)
class Claimant:
    """The ledger that asks: its identity, and the phase of every generation that it knows."""

    ledger: str
    phases: Mapping[int, str]


@dataclass(frozen=True)
class TargetRecord:
    """What the target says of a workload.

    ``owners`` is the ledger of each generation, ``roles`` what the pointer names as what, and
    ``begun`` the fingerprints that the generation in question was begun with.
    """

    owners: Mapping[int, str]
    roles: Mapping[int, str]
    begun: Collection[str]


def why_foreign(
    claimant: Claimant, generation: int, fingerprint: str, found: TargetRecord
) -> str | None:
    """Say why a ledger may not change a generation in a target; None when it may.

    What the pointer names decides first: a workload whose pointer names another ledger's generation
    is that ledger's. A generation without an owner, from before there were owners, is the ledger's
    that has begun to load it with the same fingerprint, and whose phases agree with the pointer.
    """
    for number in sorted({generation, *found.roles}):
        owner = found.owners.get(number)
        role = found.roles.get(number)
        if owner == claimant.ledger:
            continue
        named = f"generation {number}" + (f" ({role})" if role else "")
        if owner is not None:
            return f"{named} belongs to ledger {owner}, this is ledger {claimant.ledger}"
        phase = claimant.phases.get(number)
        if role is not None and (phase is None or Phase(phase) not in _AGREES[role]):
            known = "does not know it" if phase is None else f"has it as {phase!r}"
            return f"{named} has no owner in the target, and this ledger {known}"
    if generation in found.owners or not found.begun:
        return None
    phase = claimant.phases.get(generation)
    if phase is None or Phase(phase) in NOT_BEGUN:
        return f"generation {generation} was begun in the target, and not by this ledger"
    if set(found.begun) != {fingerprint}:
        return (
            f"generation {generation} was begun in the target with fingerprint "
            f"{', '.join(sorted(found.begun))}, this ledger has {fingerprint}"
        )
    return None
