"""Rung 10: readers meet chunks, and nobody sees what is not theirs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence, Set

from qafila.backfill.verify import list_set_aside
from qafila.endpoints import open_source
from qafila.ledger.ledger import open_ledger
from qafila.sources.port import Source, SourceRow
from qafila.stores.port import VectorStore
from qafila.stores.row_sets import NOBODY
from qafila.validation.checks.filtered_search import BROKEN, scores_of
from qafila.validation.checks.judge_access import (
    Place,
    Reader,
    Seen,
    Service,
    judge_access,
    judge_reader,
    judge_service,
    not_seen,
)
from qafila.validation.checks.judge_recall import share_found
from qafila.validation.judged import K
from qafila.validation.model import Detail, Finding, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.suite import Climb, check
from qafila.workload.corpus import EVERYBODY
from qafila.workload.verdict import Judgement, Verdict

_BATCH_ROWS = 2000
_SEARCHES = 600  # shared by all readers
_FEWEST_SEARCHES = 10  # a reader
_SCANNED = 10  # searches compared with exact ones, where every row is looked at anyway
_SERVICE_QUERIES = 60
_COMPARED = "what each reader is shown with the groups that the source allows"


@check(Rung.ACCESS, "read as everybody in turn")
def measure_access(climb: Climb) -> Climbed:
    """Play readers of every group and of pairs: all rows by the filter, and searches.

    The source says who may read what, as it is now. The service is asked without an identity.
    """
    options = climb.options
    try:
        with (
            open_ledger() as ledger,
            climb.store(ledger) as store,
            open_source(ledger, climb.workload) as source,
        ):
            set_aside = {key for key, _ in list_set_aside(ledger, climb.original)}
            counted = [g for g in store.readers() if g != NOBODY]
            readers = readers_to_play(counted, options.access_readers, options.seed)
            watch = _Watch(source, whole=climb.workload.corpus.chunking.method == "whole")
            seen = [Seen(reader) for reader in readers]
            _meet_rows(watch, store, seen, set_aside)
            _meet_searches(watch, store, seen, climb)
            service = _ask_service(watch, climb)
    except BROKEN as error:
        return Finding(
            Rung.ACCESS,
            Judgement(Verdict.ERROR, f"access was not measured: {str(error).splitlines()[0]}"),
            compared=_COMPARED,
            on="no row",
        )
    return _finding(climb, seen, service, len(counted))


def readers_to_play(groups: Sequence[str], at_most: int, seed: int) -> list[Reader]:
    """Return a stranger, readers of one group each, and readers of two; of many, by chance."""
    chance = random.Random(seed)
    there = sorted(groups)
    if len(there) > at_most:
        always = [EVERYBODY] if EVERYBODY in there else []
        rest = [g for g in there if g not in always]
        there = sorted([*always, *chance.sample(rest, at_most - len(always))])
    pairs = [(a, b) for n, a in enumerate(there) for b in there[n + 1 :]]
    if len(pairs) > at_most:
        pairs = sorted(chance.sample(pairs, at_most))
    unknown = f"qafila-stranger-{seed}"
    while unknown in groups:
        unknown += "-"
    return [Reader((unknown,), stranger=True), *(Reader((g,)) for g in there), *map(Reader, pairs)]


class _Watch:
    """The source's word on who may read what, by place, as it is now."""

    def __init__(self, source: Source, *, whole: bool) -> None:
        self._source = source
        self._whole = whole
        self._pieces: bool | None = None

    def read(self) -> Iterator[tuple[Sequence[str], dict[Place, Set[str]]]]:
        """Yield the keys of documents with the groups of each place, all rows once."""
        for rows in self._source.read(None, None, _BATCH_ROWS):
            yield list(dict.fromkeys(r.key_text for r in rows)), self._groups(rows)

    def fetch(self, keys: Sequence[str]) -> dict[Place, Set[str]]:
        """Return the groups of each place of these documents; nothing of one that is gone."""
        found: dict[Place, Set[str]] = {}
        for start in range(0, len(keys), _BATCH_ROWS):
            found |= self._groups(self._source.fetch(keys[start : start + _BATCH_ROWS]))
        return found

    def place(self, key: str, number: int) -> Place:
        """Return the place of a chunk, as the source knows it."""
        return (key, number) if self._pieces else (key, None)

    def _groups(self, rows: Sequence[SourceRow]) -> dict[Place, Set[str]]:
        if self._pieces is None and rows:
            self._pieces = rows[0].piece is not None and self._whole
        return {
            self.place(r.key_text, r.piece.number if r.piece else 0): frozenset(r.acl) for r in rows
        }


def _meet_rows(
    watch: _Watch, store: VectorStore, seen: Sequence[Seen], set_aside: Set[str]
) -> None:
    for keys, groups in watch.read():
        for one in seen:
            mine = frozenset(one.reader.groups)
            allowed = {p for p, acl in groups.items() if acl & mine}
            there = {watch.place(*place) for place in store.visible(keys, one.reader.groups)}
            # chunks of one document may come in several batches: each is judged in its own
            visible = {p for p in there if p in groups}
            absent = {p for p in allowed - visible if p[0] in set_aside}
            one.compare(allowed - absent, visible, len(groups))


def _meet_searches(watch: _Watch, store: VectorStore, seen: Sequence[Seen], climb: Climb) -> None:
    probes = climb.probes
    each = min(len(probes.queries), max(_FEWEST_SEARCHES, _SEARCHES // max(1, len(seen))))
    for one in seen:
        groups = one.reader.groups
        scanned = store.scans(groups)
        compared = _SCANNED if scanned else each
        answers: list[tuple[str, list[tuple[str, int]]]] = []
        # a search that finds nothing looks through the whole index before it says so
        for number in range(min(each, _FEWEST_SEARCHES) if one.reader.stranger else each):
            vector = probes.vectors[number]
            found = scores_of(store.search(vector, K, groups))
            answers.append((probes.queries[number].text, list(found)))
            if number < compared and not one.reader.stranger:
                truth = scores_of(store.search_exact(vector, K, groups))
                share = share_found(truth, found, K)
                if share is not None:
                    one.shares.append(share)
        one.scanned = scanned and all(share == 1.0 for share in one.shares)
        keys = dict.fromkeys(key for _, places in answers for key, _ in places)
        allowed = watch.fetch(list(keys))
        mine = frozenset(groups)
        for query, places in answers:
            asked = [watch.place(*place) for place in places]
            forbidden = [p for p in asked if not allowed.get(p, frozenset()) & mine]
            one.search(len(asked), forbidden, query)


def _ask_service(watch: _Watch, climb: Climb) -> Service:
    """Ask as somebody whom the service does not know; documents count, whichever chunk it shows."""
    texts = [q.text for q in climb.probes.queries[:_SERVICE_QUERIES]]
    with climb.candidate() as arm:
        answers = [(text, arm.ask(text, K).ranking) for text in texts]
    keys = dict.fromkeys(key for _, ranking in answers for key in ranking or ())
    groups: dict[str, Set[str]] = {}
    for (key, _), acl in watch.fetch(list(keys)).items():
        groups[key] = groups.get(key, frozenset()) | acl
    forbidden: list[tuple[Place, str]] = [
        ((key, None), text)
        for text, ranking in answers
        for key in ranking or ()
        if EVERYBODY not in groups.get(key, frozenset())
    ]
    errors = sum(ranking is None for _, ranking in answers)
    return Service(len(answers), errors, forbidden)


def _finding(climb: Climb, seen: Sequence[Seen], asked: Service, groups: int) -> Finding:
    objectives, seed = climb.workload.objectives, climb.options.seed
    at_least = objectives.recall_at_10
    service = judge_service(asked, objectives.error_rate.at_most)
    parts = {s.reader.name: judge_reader(s, at_least, of=len(seen), seed=seed) for s in seen}
    remedy = (
        f"See what looking harder would reach: the rung of the index measures it by reader, "
        f"with recall_groups: {min(1000, max(8, groups))}."
    )
    searches = sum(s.searches for s in seen)
    played = sum(len(s.reader.groups) == 1 and not s.reader.stranger for s in seen)
    return Finding(
        Rung.ACCESS,
        judge_access(seen, service, at_least, seed=seed, remedy=remedy),
        compared=_COMPARED,
        on=f"{len(seen)} readers, {max((s.rows for s in seen), default=0)} rows each and "
        f"{searches} searches",
        smallest_effect=not_seen(searches, played, groups),
        parts={**parts, "the service": service} if service else parts,
        details=_details(seen, asked),
        figures={
            "access": {
                "readers": len(seen),
                "groups": groups,
                "searches": searches,
                "forbidden": sum(s.returned + s.shown for s in seen) + len(asked.returned_for),
                "hidden": sum(s.hidden for s in seen),
                "by_reader": {n: dict(j.numbers) for n, j in parts.items()},
            }
        },
    )


def _details(seen: Sequence[Seen], asked: Service) -> list[Detail]:
    wrong: list[Mapping[str, object]] = []
    for s in seen:
        for (key, number), query in s.returned_for:
            wrong.append(_row(s.reader.name, key, number, f"returned for {query!r}"))
        for what, places in (("shown", s.shown_places), ("hidden", s.hidden_places)):
            wrong += [_row(s.reader.name, key, number, what) for key, number in places]
    for (key, number), query in asked.returned_for:
        wrong.append(_row("somebody without an identity", key, number, f"returned for {query!r}"))
    return [Detail("What was shown or hidden against the source's word", wrong)] if wrong else []


def _row(reader: str, key: str, number: int | None, what: str) -> Mapping[str, object]:
    return {
        "reader": reader,
        "document": key,
        "chunk": "any" if number is None else number,
        "what happened": what,
    }
