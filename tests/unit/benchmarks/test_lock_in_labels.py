"""The labelled set of the lock-in scan, on those of its packages that are here."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from benchmarks.lock_in_labels import SETS, Labels, Place, Score, found_in, read, score
from qafila.audit.code_scan.model import Kind
from qafila.audit.code_scan.scan import scan
from qafila.settings import home

FITTED = [name for name, fitted in SETS.items() if fitted]
"""The sets that the rules must do well on; the others say how well they do elsewhere."""


def test_the_labels_are_sound() -> None:
    labels = read()
    assert not labels.hits & labels.beyond
    assert {p[3] for p in labels.hits} == set(Kind)
    assert {f[0] for f in labels.files} == set(labels.packages)
    assert all((p[0], p[1]) in labels.files and p[2] > 0 for p in labels.hits | labels.beyond)
    assert sum(len(read(which).files) for which in SETS) == len(labels.files)
    assert len(labels.files - {(p[0], p[1]) for p in labels.hits}) > 15  # hard negatives


def test_what_is_installed_is_found_as_labelled() -> None:
    labels, found, here = read(*FITTED), set[Place](), set[str]()
    for name, (version, _) in labels.packages.items():
        folder = _installed(name, version)
        if folder is None:
            continue
        here.add(name)
        for top in {path.split("/")[0] for package, path in labels.files if package == name}:
            for h in scan([folder / top], workers=1).hits:
                found.add((name, f"{top}/{h.file}", h.line, h.kind.value, h.provider))
    if not here:
        pytest.skip("no labelled package is installed in its labelled version")
    some = Labels(
        labels.packages,
        frozenset(f for f in labels.files if f[0] in here),
        frozenset(p for p in labels.hits if p[0] in here),
        frozenset(p for p in labels.beyond if p[0] in here),
    )
    _holds(score(frozenset(p for p in found if (p[0], p[1]) in some.files), some))


def _installed(name: str, version: str) -> Path | None:
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(found.locate_file(""))) if found.version == version else None


def test_all_sets_together_are_found_as_labelled() -> None:
    labels, folder = read(), home() / "lock-in"
    if not all((folder / name).is_dir() for name in labels.packages):
        pytest.skip("qafila bench lock-in fetches the labelled packages; it has not run here")
    _holds(score(found_in({n: folder / n for n in labels.packages}, labels), labels))


def _holds(result: Score) -> None:
    assert result.precision >= 0.95, result
    assert result.recall >= 0.95, result
