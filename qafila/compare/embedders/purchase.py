"""What a comparison would pay, before it pays: the plan, the cap, and a person's yes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from qafila.compare.embedders.vectors import Purchase
from qafila.errors import Refused

_KEPT = "everything; no service was asked."


def purchase_lines(plan: Sequence[Purchase], currency: str, cap: Decimal) -> list[str]:
    """Return what goes where and what it costs; nothing when no service has to be asked."""
    open_ = [p for p in plan if p.texts]
    lines = [
        f"{p.candidate.name}: {p.texts} texts go to {p.candidate.service.split()[0]}, "
        f"{p.tokens:,} tokens, {p.cost:.4f} {currency}; at most (P95) {p.tokens_p95:,} tokens, "
        f"{p.cost_p95:.4f} {currency}"
        for p in open_
    ]
    if len(open_) > 1:
        lines.append(
            f"together at most {_total(open_):.4f} {currency}; the cap is {cap} {currency}"
        )
    return lines


def require_room(plan: Sequence[Purchase], currency: str, left: Decimal) -> None:
    """Refuse a plan that may cost more than is left under the cap.

    Raises:
        Refused: it may; says what would help.
    """
    total = _total(plan)
    if total > left:
        raise Refused(
            f"the comparison may cost {total:.4f} {currency} (P95), and {left:.4f} {currency} are "
            "left under the cap.",
            kept=_KEPT,
            remedy="raise --spend-cap (of a workload also budget.spend_cap), or lower "
            "--sample-documents and --max-queries",
        )


def is_paid(plan: Sequence[Purchase]) -> bool:
    """Say whether any of it costs anything."""
    return _total(plan) > 0


def refuse_unasked() -> Refused:
    """Return the error for a paid plan that nobody has agreed to."""
    return Refused(
        "the comparison would pay a service, and nobody has agreed to it.",
        kept=_KEPT,
        remedy="look at the plan above, then add --yes",
    )


def _total(plan: Sequence[Purchase]) -> Decimal:
    return sum((p.cost_p95 for p in plan), Decimal(0))
