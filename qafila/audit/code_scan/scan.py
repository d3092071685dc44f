"""Scan code for the APIs of providers: which, where, behind what, and what leaving them takes.

Reads files and nothing else: no code that is read is run, nothing is written, no network is used.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

from qafila.audit.code_scan.abstraction import Seen, behind
from qafila.audit.code_scan.file_reader import Batch, read_batch
from qafila.audit.code_scan.folders import Limits, Skipped, walk
from qafila.audit.code_scan.light import LANGUAGE, language_of
from qafila.audit.code_scan.model import Hit, Kind, LockIn
from qafila.errors import BadInput

__all__ = ["Limits", "scan"]

_BATCH_FILES = 200
_WORTH_PROCESSES = 1_500  # files; below, starting processes takes longer than reading


def scan(
    paths: Sequence[Path],
    *,
    workers: int | None = None,
    limits: Limits = Limits(),  # noqa: B008 - a value
) -> LockIn:
    """Return every place in some repositories (folders or single files) that touches a provider.

    ``workers`` None: as many processes as there are cores, when there is enough to read.

    Raises:
        BadInput: a path does not exist or is a file in no language that is read, or no readable
            code was found; all problems at once.
    """
    _check(paths)
    skipped, hits, total = Skipped(), list[Hit](), Batch()
    for path in dict.fromkeys(paths):
        root, names = (
            (path.parent, iter([path.name]))
            if path.is_file()
            else (path, walk(path, skipped, limits))
        )
        whole = Batch()
        for batch in _batches(root, names, limits, workers):
            whole.seen += batch.seen
            whole.imports |= batch.imports
            _add(total, batch)
        hits += _hits(str(path), whole)
    total.skipped.add(skipped)
    if not total.languages:
        left_out = ", ".join(f"{n} {reason}" for reason, n in sorted(total.skipped.counts.items()))
        raise BadInput(
            f"no readable code in {', '.join(str(p) for p in paths)}.",
            [f"left out: {left_out}"] if left_out else [],
            remedy=f"name a folder with files that end in {_endings()}",
        )
    hits.sort(key=lambda h: (h.repository, h.file, h.line, h.column, h.rule, h.api, h.operation))
    return LockIn(
        tuple(hits),
        sum(total.languages.values()),
        total.lines,
        total.size_bytes,
        dict(sorted(total.languages.items())),
        dict(sorted(total.skipped.counts.items())),
        {reason: tuple(n) for reason, n in sorted(total.skipped.examples.items())},
    )


def _check(paths: Sequence[Path]) -> None:
    problems = [] if paths else ["no path is given"]
    for path in paths:
        if not path.exists():
            problems.append(f"{path} does not exist")
        elif path.is_file() and language_of(path.name) is None:
            problems.append(f"{path} is in no language that is read ({_endings()})")
        elif not path.is_file() and not path.is_dir():
            problems.append(f"{path} is neither a file nor a folder")
    if problems:
        raise BadInput(
            "there is nothing to scan:", problems, remedy="qafila lock-in FOLDER, of source code"
        )


def _endings() -> str:
    return ", ".join(LANGUAGE)


def _batches(
    root: Path, names: Iterator[str], limits: Limits, workers: int | None
) -> Iterator[Batch]:
    """Read in this process what is little, else in several; batches come in any order."""
    first = list(islice(names, _WORTH_PROCESSES))
    processes = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    processes = workers if workers is not None else processes or 1
    if processes < 2 or (workers is None and len(first) < _WORTH_PROCESSES):
        for part in _parts(_chained(first, names)):
            yield read_batch(str(root), part, limits)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: set[Future[Batch]] = set()
        try:
            for part in _parts(_chained(first, names)):
                waiting.add(pool.submit(read_batch, str(root), part, limits))
                if len(waiting) > 4 * processes:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (f.result() for f in done)
            yield from (f.result() for f in waiting)
        except BrokenProcessPool as error:
            raise BadInput(
                f"a file below {root} stopped the process that read it.",
                [],
                remedy="scan the folders below it one by one to find it, and leave it out",
            ) from error


def _chained(first: list[str], rest: Iterable[str]) -> Iterator[str]:
    yield from first
    yield from rest


def _parts(names: Iterator[str]) -> Iterator[list[str]]:
    while part := list(islice(names, _BATCH_FILES)):
        yield part


def _add(total: Batch, batch: Batch) -> None:
    total.lines += batch.lines
    total.size_bytes += batch.size_bytes
    total.languages += Counter(batch.languages)
    total.skipped.add(batch.skipped)


def _hits(repository: str, batch: Batch) -> Iterator[Hit]:
    kept = behind(batch.seen, batch.imports)
    for one in batch.seen:
        yield from _of_file(repository, one, kept)


def _of_file(repository: str, one: Seen, kept: set[tuple[str, Kind, str]]) -> Iterator[Hit]:
    for s in one.sightings:
        yield Hit(
            repository,
            one.file,
            s.line,
            s.column,
            s.kind,
            s.provider,
            s.api,
            s.operation,
            s.rule,
            s.site,
            s.text,
            (one.file, s.kind, s.provider) in kept,
            s.effort,
            s.reason,
        )
