"""Every error Qafila raises on purpose. Imports nothing of ours.

A message answers three questions: what happened, what was kept, what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal


class QafilaError(Exception):
    """Base of all our errors; ``exit_code`` is what the command line exits with."""

    exit_code = 4

    def __init__(self, what: str, *, kept: str = "", remedy: str = "") -> None:
        self.what = what
        self.kept = kept
        self.remedy = remedy
        super().__init__(self.render())

    def render(self) -> str:
        """Return the message as an operator reads it: one line each for what, kept, next."""
        lines = [f"{type(self).__name__}: {self.what}"]
        if self.kept:
            lines.append(f"Kept:  {self.kept}")
        if self.remedy:
            lines.append(f"Next:  {self.remedy}")
        return "\n".join(lines)


class Refused(QafilaError):
    """A verdict or a precondition says no; nothing was changed."""

    exit_code = 1


class BadInput(QafilaError):
    """The request itself is wrong; carries every problem found, not only the first."""

    exit_code = 2

    def __init__(self, what: str, problems: Sequence[str] = (), *, remedy: str = "") -> None:
        self.problems = tuple(problems)
        numbered = "".join(f"\n  {n}. {p}" for n, p in enumerate(self.problems, 1))
        super().__init__(what + numbered, kept="everything; nothing was changed.", remedy=remedy)


class NotReady(Refused):
    """More than one thing is missing; carries every problem, each with its own next step."""

    def __init__(
        self, what: str, problems: Sequence[QafilaError], *, kept: str = "", remedy: str = ""
    ) -> None:
        self.problems = tuple(problems)
        numbered = "".join(
            f"\n  {n}. {p.what}" + (f"\n     {p.remedy}" if p.remedy else "")
            for n, p in enumerate(self.problems, 1)
        )
        super().__init__(what + numbered, kept=kept, remedy=remedy)


class Inconclusive(QafilaError):
    """There was too little evidence to say yes or no."""

    exit_code = 3


class Unavailable(QafilaError):
    """Something we need does not answer: a server, a database, a router."""


class Disagreement(Unavailable):
    """Places that should say the same about the weights do not; ``said`` has each one's sentence.

    The places are members of a fleet, or the ledger, the router's file and the router itself.
    """

    def __init__(
        self, what: str, said: Mapping[str, str], *, kept: str = "", remedy: str = ""
    ) -> None:
        self.said = dict(said)
        lines = "".join(f"\n  {place}: {sentence}" for place, sentence in self.said.items())
        super().__init__(what + lines, kept=kept, remedy=remedy)


class BackfillHalted(QafilaError):
    """A backfill stopped before its end; what is loaded stays, and it can be resumed."""


class SpendCapReached(BackfillHalted):
    """The next call to a paid service could cross the spend cap, so it was not made."""

    def __init__(
        self, what: str, *, spent: Decimal, cap: Decimal, kept: str = "", remedy: str = ""
    ) -> None:
        self.spent = spent
        self.cap = cap
        super().__init__(what, kept=kept, remedy=remedy)


class StaleEpoch(Refused):
    """Somebody else holds the lease now: this writer may not write any more."""


class VerificationFailed(Refused):
    """Source and target differ after the load."""
