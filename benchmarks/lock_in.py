"""Measure the lock-in scan: speed over a large real tree, precision and recall on labelled code.

    qafila bench lock-in

The tree is the packages that this Python has installed: every line that is looked at counts, those
of files that touch no provider too. ``lines_per_s`` is the median of the rounds, with a process on
every core. ``floor_seconds`` is what one process needs to read the same files, count their lines
and search each for the names of the providers' modules with one expression, as a text search
would; ``ratio_to_floor`` is the scan in one process over that.

``precision`` and ``recall`` are over (file, line, kind, provider) on the labels in
benchmarks/lock_in_labels.toml: real open-source packages, fetched with pip by version and hash
into .qafila/lock-in (or unpacked already in --packages DIR, one folder each). ``sets`` has the
figures of each set of labels; those in ``never_fitted_to`` were labelled by a reader who had not
seen the rules, and no rule was changed for them. Exit code 1 when a figure over all labels misses
its limit.
"""

from __future__ import annotations

import argparse
import re
import resource
import site
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import lock_in_labels, machine
from qafila.audit.code_scan.file_reader import rules
from qafila.audit.code_scan.folders import Skipped, walk
from qafila.audit.code_scan.scan import Limits, scan
from qafila.settings import home

LEAST_LINES_PER_S = 200_000
LEAST_SCORE = 0.95


def main() -> None:
    """Measure and print; exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(prog="qafila bench lock-in", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(site.getsitepackages()[0]))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--packages", type=Path, help="where the labelled packages are unpacked")
    given = parser.parse_args()
    speed, raw = measure_speed(given.root, given.rounds)
    figures = {**speed, **measure_labels(given.packages or home() / "lock-in")}
    holds = (
        figures["lines_per_s"] >= LEAST_LINES_PER_S
        and figures["precision"] >= LEAST_SCORE
        and figures["recall"] >= LEAST_SCORE
    )
    machine.show(
        "lock-in",
        {**figures, "holds": holds},
        seed=None,
        raw_seconds=raw,
        notes={
            "recall": "over all labels; the rules were fitted to all sets but those in "
            "never_fitted_to, so this is a check against going backwards. What first runs found, "
            "before anything was mended, stands in docs/explanation/lock-in.md: the honest figure",
            "recall_beyond": "with the labels for which a value must be followed through a "
            "parameter, a loop, a container or another object, which the scan does not do",
        },
    )
    sys.exit(0 if holds else 1)


def measure_speed(root: Path, rounds: int) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Return the figures of speed and the seconds behind them.

    Raises:
        NotMeasured: two scans of the same tree found different things.
    """
    raw: dict[str, list[float]] = {"floor": [], "one_process": [], "all_cores": []}
    results = []
    for number in range(rounds + 1):
        floor = _timed_floor(root)
        begun = time.perf_counter()
        results.append(scan([root]))
        seconds = time.perf_counter() - begun
        if number:  # the first round warms the file cache
            raw["floor"].append(floor)
            raw["all_cores"].append(seconds)
    begun = time.perf_counter()
    results.append(scan([root], workers=1))
    raw["one_process"].append(time.perf_counter() - begun)
    if any(r != results[0] for r in results):
        raise machine.NotMeasured("two scans of the same tree differ.")
    found, whole = results[0], median(raw["all_cores"])
    floor_seconds = median(raw["floor"])
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "lines": found.lines,
        "files": found.files,
        "hits": len(found.hits),
        "seconds": round(whole, 3),
        "lines_per_s": round(found.lines / whole),
        "seconds_one_process": round(raw["one_process"][0], 3),
        "floor_seconds": round(floor_seconds, 3),
        "ratio_to_floor": round(raw["one_process"][0] / floor_seconds, 2),
        "peak_rss_mb": round(peak / 1024),
        "skipped": dict(found.skipped),
    }, raw


def _timed_floor(root: Path) -> float:
    """Read, count and search as a text search would; return the seconds."""
    names = {re.split("[./]", path)[0] for path in rules().modules["python"]}
    words = re.compile(
        rf"\b(?:import|from)\s+(?:{'|'.join(sorted(map(re.escape, names)))})\b".encode()
    )
    begun, lines, found = time.perf_counter(), 0, 0
    for name in walk(root, Skipped(), Limits()):
        content = (root / name).read_bytes()
        lines += content.count(b"\n")
        found += sum(1 for _ in words.finditer(content))
    return time.perf_counter() - begun


def measure_labels(folder: Path) -> dict[str, Any]:
    """Return precision and recall on the labelled packages, fetching those that are missing.

    Raises:
        NotMeasured: a package cannot be had.
    """
    labels = lock_in_labels.read()
    lock_in_labels.fetch(labels, folder)
    found = lock_in_labels.found_in({n: folder / n for n in labels.packages}, labels)
    whole = lock_in_labels.score(found, labels)
    return {
        "labelled_files": len(labels.files),
        "labels": len(labels.hits),
        "precision": round(whole.precision, 4),
        "recall": round(whole.recall, 4),
        "recall_beyond": round(lock_in_labels.score(found, labels, beyond=True).recall, 4),
        "by_kind": lock_in_labels.by_kind(found, labels),
        "sets": lock_in_labels.by_set(found),
        "never_fitted_to": [name for name, fitted in lock_in_labels.SETS.items() if not fitted],
        "wrong": [list(p) for p in sorted(found - labels.hits - labels.beyond)],
        "missed": [list(p) for p in sorted(labels.hits - found)],
    }


if __name__ == "__main__":
    main()
