"""Is what was written since the promotion also where a rollback goes back to?

Live sync feeds the generation that served before until its successor is settled. Going back to it
while it is behind hides from users what they wrote; waiting keeps them on what is faulty. So an
operator's rollback waits a little, then asks; an abort of a canary never waits, since until the
cut-over the old side is what serves, and live sync feeds it first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from qafila.errors import QafilaError, Refused
from qafila.ledger.connections import Lookup, open_postgres, recorded_in
from qafila.ledger.ledger import Connection
from qafila.stores.pointer_row import read_alias
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload

_POLL_S = 0.25
WAIT_SECONDS = 30.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Behind:
    """What the generation to return to lacks, of what was committed when it was asked first.

    ``changes`` and ``seconds`` are None where it cannot be known; ``why`` then says so.
    """

    generation: int
    changes: int | None
    seconds: float | None
    why: str = ""

    @property
    def in_step(self) -> bool:
        return self.changes == 0

    @property
    def sentence(self) -> str:
        if self.changes is None:
            return f"whether generation {self.generation} is in step is not known: {self.why}"
        if self.in_step:
            return f"generation {self.generation} has every write of before the decision"
        return (
            f"generation {self.generation} lacks {self.changes} changes, the oldest written "
            f"{self.seconds:.1f} s ago"
        )


def require_in_step(
    ledger: Connection,
    spec: Workload,
    promoted: int,
    *,
    wait_s: float,
    now: bool,
    tell: Tell = lambda line: None,
) -> str:
    """Wait until the old side has what was committed before this call; return a sentence of it.

    With ``now`` it is looked at once, and whatever it lacks is only said. Empty where there is no
    generation to go back to, only the application's own index, or no target to ask.

    Raises:
        Refused: it is still behind after ``wait_s`` seconds, or nobody can say.
    """
    find = recorded_in(ledger)
    number = _returns_to(spec, promoted, find)
    if number is None:
        return ""
    end, told = time.monotonic() + wait_s, -1
    try:
        with _gauge(ledger, spec, find, number) as read:
            while True:
                found = read()
                if found.in_step or now or time.monotonic() > end:
                    break
                if found.changes != told:
                    told = found.changes or 0
                    tell(f"{spec.name}: waiting up to {wait_s:.0f} s: {found.sentence}")
                time.sleep(_POLL_S)
    except (QafilaError, psycopg.Error) as error:
        what = error.what if isinstance(error, QafilaError) else str(error)
        found = Behind(number, None, None, (what.strip().splitlines() or ["no answer"])[0])
    if found.in_step or now:
        return found.sentence
    raise Refused(
        f"{spec.name} was not taken back: {found.sentence}.",
        kept="weights and pointer row, and every write.",
        remedy=f"let live sync catch up: qafila run live-sync {spec.name}; then again; or go back "
        f"at once, and what is missing shows up later: qafila rollback {spec.name} --now",
    )


@contextmanager
def _gauge(
    ledger: Connection, spec: Workload, find: Lookup, number: int
) -> Iterator[Callable[[], Behind]]:
    """Measure one generation against what the source has committed by now."""
    from qafila.live_sync.capture import recorded
    from qafila.live_sync.feeds import list_feeds
    from qafila.live_sync.outbox_reader import Outbox

    known = recorded(ledger, spec.name)
    if known is None:
        raise Refused("its source is not captured.")
    capture, _ = known
    with open_postgres(find(capture.block), capture.block) as database:
        outbox = Outbox(database, capture)
        moment, _ = outbox.moment()

        def read() -> Behind:
            feed = list_feeds(ledger, spec.name).get(number)
            if feed is None:
                return Behind(number, None, None, "it is not fed")
            lag = outbox.lag(feed.applied, moment)
            return Behind(number, lag.changes, lag.seconds)

        yield read


def _returns_to(spec: Workload, promoted: int, find: Lookup) -> int | None:
    """Return the generation that serves after the rollback, if it is one and can be read."""
    target = spec.corpus.target
    if not isinstance(target, PgvectorTarget):
        return None
    try:
        with open_postgres(find(target.block), target.block) as database:
            now = read_alias(database, spec.name)
    except (QafilaError, psycopg.Error):
        return None
    return now.previous if now is not None and now.generation == promoted else None
