"""Who was shown what is not theirs, and who was not shown what is: reader by reader.

The source's groups are the truth. Two looks at the same thing: every row, by the filter that
searches use, and the results of searches. One row too many is a FAIL; nothing is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qafila.statistics.intervals import clopper_pearson
from qafila.statistics.ranking_metrics import mean
from qafila.validation.checks.judge_recall import interval_of
from qafila.workload.verdict import Judgement, Verdict

Place = tuple[str, int | None]
"""Source key, and the chunk's number where a row of the source is a chunk."""

MOST_NAMED = 50  # examples kept of each fault of each reader


@dataclass(frozen=True)
class Reader:
    """Somebody in these groups; in none of those there are: a stranger."""

    groups: tuple[str, ...]
    stranger: bool = False

    @property
    def name(self) -> str:
        """Return what the report calls them."""
        return "a stranger" if self.stranger else f"a reader of {' and '.join(self.groups)}"


@dataclass
class Seen:
    """What one reader was shown, counted while it is looked at.

    ``shown`` are rows that the filter lets through and the source does not allow, ``hidden`` the
    reverse, over all rows; ``returned`` what searches gave that the source does not allow.
    ``scanned``: searches look at every row of theirs and found all that there was to find, so that
    nothing is left to an interval.
    """

    reader: Reader
    rows: int = 0
    allowed: int = 0
    searches: int = 0
    hits: int = 0
    shown: int = 0
    hidden: int = 0
    returned: int = 0
    shown_places: list[Place] = field(default_factory=list)
    hidden_places: list[Place] = field(default_factory=list)
    returned_for: list[tuple[Place, str]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    scanned: bool = False

    def compare(self, allowed: set[Place], visible: set[Place], rows: int) -> None:
        """Count one batch of rows."""
        self.rows += rows
        self.allowed += len(allowed)
        _count(self, "shown", visible - allowed)
        _count(self, "hidden", allowed - visible)

    def search(self, hits: int, forbidden: Sequence[Place], query: str) -> None:
        """Count one search."""
        self.searches += 1
        self.hits += hits
        self.returned += len(forbidden)
        room = MOST_NAMED - len(self.returned_for)
        self.returned_for += [(place, query) for place in forbidden][: max(0, room)]


def _count(seen: Seen, what: str, places: set[Place]) -> None:
    setattr(seen, what, getattr(seen, what) + len(places))
    named: list[Place] = getattr(seen, f"{what}_places")
    for place in sorted(places, key=str)[: MOST_NAMED - len(named)]:
        named.append(place)


@dataclass(frozen=True)
class Service:
    """What the candidate's service answered to somebody without an identity."""

    asked: int
    errors: int
    returned_for: Sequence[tuple[Place, str]] = ()


def judge_reader(seen: Seen, at_least: float, *, of: int, seed: int) -> Judgement:
    """Judge one of ``of`` readers: exact in what is forbidden, by an interval in what is found.

    One reader's recall alone fails only by its whole interval; between, it is left to all together.
    """
    name = seen.reader.name
    numbers: dict[str, object] = {
        "groups": list(seen.reader.groups),
        "rows": seen.rows,
        "allowed": seen.allowed,
        "searches": seen.searches,
        "hits": seen.hits,
        "shown": seen.shown,
        "hidden": seen.hidden,
        "returned": seen.returned,
        "recall_at_10": mean(seen.shares),
    }
    wrong = []
    if seen.returned:
        (place, query), *_ = seen.returned_for
        wrong.append(
            f"{seen.returned} results of {seen.searches} searches are not theirs, as "
            f"{_named(place)} for {query!r}"
        )
    if seen.shown:
        wrong.append(
            f"the filter lets {seen.shown} of {seen.rows} rows through that the source does not "
            f"allow: {_listed(seen.shown_places)}"
        )
    if seen.hidden:
        wrong.append(
            f"the filter hides {seen.hidden} of {seen.allowed} rows that are theirs: "
            f"{_listed(seen.hidden_places)}"
        )
    if wrong:
        return Judgement(Verdict.FAIL, f"{name}: {'; '.join(wrong)}.", numbers)
    found = None if seen.scanned else interval_of(seen.shares, of=of, seed=seed)
    said = f"{name}: nothing forbidden in {seen.hits} results of {seen.searches} searches"
    said += f" and {seen.rows} rows; {seen.allowed} are theirs"
    if found is None:
        whole = ", each found by looking at all of them" if seen.scanned else ""
        return Judgement(Verdict.PASS, f"{said}{whole}.", numbers)
    numbers |= {"ci_low": found.low, "ci_high": found.high}
    if found.high < at_least:
        return Judgement(
            Verdict.FAIL,
            f"{name}: finds {found} of what is theirs, all of it below {at_least:g}.",
            numbers,
        )
    return Judgement(Verdict.PASS, f"{said}, recall@10 {found}.", numbers)


def judge_service(service: Service | None, most_errors: float) -> Judgement | None:
    """Judge what the service showed to somebody it does not know; None when it was not asked."""
    if service is None:
        return None
    numbers: dict[str, object] = {"asked": service.asked, "errors": service.errors}
    if service.asked == 0:
        return Judgement(Verdict.INCONCLUSIVE, "the service was asked nothing.", numbers)
    if service.errors / service.asked > most_errors:
        return Judgement(
            Verdict.ERROR,
            f"the service answered {service.errors} of {service.asked} questions with an error: "
            "who sees what through it was not measured.",
            numbers,
        )
    if service.returned_for:
        place, query = service.returned_for[0]
        return Judgement(
            Verdict.FAIL,
            f"the service, asked without an identity, returned {len(service.returned_for)} "
            f"documents that not everyone may read, as {_named(place)} for {query!r}.",
            numbers,
        )
    return Judgement(
        Verdict.PASS,
        f"the service, asked {service.asked} times without an identity, returned only what "
        "everyone may read. As a reader of a group it was not asked: the workload names no way to "
        "say who is asking.",
        numbers,
    )


def judge_access(
    readers: Sequence[Seen],
    service: Judgement | None,
    at_least: float,
    *,
    seed: int,
    remedy: str = "",
) -> Judgement:
    """Judge everybody together: the worst reader, the service, and recall over all readers."""
    judged = [judge_reader(s, at_least, of=len(readers), seed=seed) for s in readers]
    failed = [j.sentence for j in judged if j.verdict is Verdict.FAIL]
    shares = [share for s in readers if not s.scanned for share in s.shares]
    found = interval_of(shares, of=1, seed=seed)
    checks = sum(s.rows + s.hits for s in readers)
    numbers: dict[str, object] = {
        "readers": len(readers),
        "checks": checks,
        "recall_at_10": found and found.mean,
        "searches": sum(s.searches for s in readers),
        "at_least": at_least,
    }
    if service is not None and service.verdict is Verdict.FAIL:
        failed.insert(0, f"{service.sentence[0].upper()}{service.sentence[1:]}")
    low = found is not None and found.high < at_least
    if failed or low:
        if low and not failed:
            failed = [f"Readers find {found} of what is theirs, all of it below {at_least:g}."]
        more = f" And {len(failed) - 3} readers more." if len(failed) > 3 else ""
        silent = any(s.shares and (mean(s.shares) or 0) < at_least for s in readers)
        said = " ".join(failed[:3]) + more + (f" {remedy}" if remedy and silent else "")
        return Judgement(Verdict.FAIL, said, numbers)
    if service is not None and service.verdict is not Verdict.PASS:
        return Judgement(service.verdict, f"access: {service.sentence}", numbers)
    if not checks:
        return Judgement(Verdict.INCONCLUSIVE, "access: there was no row to check.", numbers)
    if found is not None and found.low < at_least:
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"Nothing forbidden was shown in {checks} checks, but readers find {found} of what is "
            f"theirs, on both sides of {at_least:g}: more recall_queries would decide.",
            numbers,
        )
    recall = "" if found is None else f"; they find {found} of what is theirs"
    return Judgement(
        Verdict.PASS,
        f"Nothing forbidden was shown to {len(readers)} readers in {checks} checks{recall}.",
        numbers,
    )


def not_seen(searches: int, played: int, groups: int) -> str:
    """Return what this run could not have seen, in words: other searches, other readers.

    The bound is that of Clopper and Pearson for none in so many searches.
    """
    most = clopper_pearson(0, searches)[1]
    left = groups - played
    others = f"; {left} of {groups} groups were not played" if left > 0 else ""
    return (
        f"every row was checked by the filter; of searches that were not tried, at most "
        f"{100 * most:.2g} % show something forbidden (95 %){others}"
    )


def _listed(places: Sequence[Place]) -> str:
    shown = ", ".join(_named(p) for p in places[:3])
    return shown + (", …" if len(places) > 3 else "")


def _named(place: Place) -> str:
    key, number = place
    return key if number is None else f"{key} ({number})"
