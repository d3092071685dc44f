"""The labelled set of the lock-in scan: facts on real packages, fetched with pip when measured."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from qafila.audit.code_scan.file_reader import read_batch
from qafila.audit.code_scan.folders import Limits, Skipped, walk

FILE = Path(__file__).with_suffix(".toml")

SETS = {
    "drawn": True,
    "held-out": True,
    "fresh": True,
    "last": True,
    "unseen": True,
    "blind": False,
    "later": False,
}
"""The labelled sets, and whether the rules were fitted to them after their first run."""

Place = tuple[str, str, int, str, str]
"""(package, file, line, kind, provider)."""


@dataclass(frozen=True)
class Labels:
    """``hits`` can be told from a file alone, ``beyond`` only by following values further."""

    packages: Mapping[str, tuple[str, str]]  # name: version, sha256 of its wheel
    files: frozenset[tuple[str, str]]
    hits: frozenset[Place]
    beyond: frozenset[Place]


@dataclass(frozen=True)
class Score:
    """How a scan did on some labels."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong) if self.right else 0.0

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed) if self.right else 0.0

    def as_data(self) -> dict[str, Any]:
        return {
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "right": self.right,
            "wrong": self.wrong,
            "missed": self.missed,
        }


def read(*sets: str) -> Labels:
    """Read the labels of some of SETS and the packages that they speak of; without a name, all."""
    rows = tomllib.loads(FILE.read_text(encoding="utf-8"))
    files = [f for f in rows["file"] if f["set"] in (sets or SETS)]
    named = {f["package"] for f in files}
    return Labels(
        {p["name"]: (p["version"], p["sha256"]) for p in rows["package"] if p["name"] in named},
        frozenset((f["package"], f["path"]) for f in files),
        _places(files, "hits"),
        _places(files, "beyond"),
    )


def _places(files: Iterable[Mapping[str, Any]], which: str) -> frozenset[Place]:
    return frozenset(
        (f["package"], f["path"], line, *_kind_and_provider(key))
        for f in files
        for key, lines in f.get(which, {}).items()
        for line in lines
    )


def _kind_and_provider(key: str) -> tuple[str, str]:
    kind, provider = key.split("/")
    return kind, provider


def fetch(labels: Labels, folder: Path) -> None:
    """Download the wheels, checked by their hashes, and unpack each into a folder of its name.

    Raises:
        NotMeasured: pip is not there, or a package cannot be had.
    """
    missing = {n: v for n, v in labels.packages.items() if not (folder / n).is_dir()}
    if not missing:
        return
    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    wanted = wheels / "wanted.txt"
    wanted.write_text(
        "".join(f"{n}=={v} --hash=sha256:{h}\n" for n, (v, h) in sorted(missing.items()))
    )
    done = subprocess.run(
        [
            *_pip(),
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--python-version",
            "3.11",  # the wheels that the hashes are of, whatever runs here
            "--require-hashes",
            "-r",
            str(wanted),
            "-d",
            str(wheels),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise machine.NotMeasured(
            f"pip could not fetch the labelled packages: {done.stderr[-500:]}"
        )
    for wheel in sorted(wheels.glob("*.whl")):
        name = wheel.name.split("-")[0].replace("_", "-")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / name)


def _pip() -> list[str]:
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    if (found := shutil.which("pip")) is not None:
        return [found]
    raise machine.NotMeasured("pip is needed to fetch the labelled packages; name --packages DIR.")


def found_in(folders: Mapping[str, Path], labels: Labels) -> frozenset[Place]:
    """Return what a scan of whole packages finds in the labelled files, once a line.

    The packages are walked whole and only the labelled files read: what is found in a file does
    not depend on the text of others, only whether it is behind an abstraction does.
    """
    found = set[Place]()
    for package, folder in folders.items():
        walked = walk(folder, Skipped(), Limits())
        names = [name for name in walked if (package, name) in labels.files]
        for seen in read_batch(str(folder), names, Limits()).seen:
            for hit in seen.sightings:
                found.add((package, seen.file, hit.line, hit.kind.value, hit.provider))
    return frozenset(found)


def score(found: frozenset[Place], labels: Labels, *, beyond: bool = False) -> Score:
    """Hold what was found against the labels. What lies beyond is no mistake when it is found."""
    wanted = labels.hits | labels.beyond if beyond else labels.hits
    wrong = found - labels.hits - labels.beyond
    return Score(len(found & wanted), len(wrong), len(wanted - found))


def by_set(found: frozenset[Place]) -> dict[str, dict[str, Any]]:
    """Return the score of each set, with the number of its labels."""
    rows = {}
    for which, fitted in SETS.items():
        labels = read(which)
        here = frozenset(p for p in found if (p[0], p[1]) in labels.files)
        rows[which] = {
            **score(here, labels).as_data(),
            "recall_beyond": round(score(here, labels, beyond=True).recall, 4),
            "labels": len(labels.hits),
            "files": len(labels.files),
            "rules_fitted_to_it": fitted,
        }
    return rows


def by_kind(found: frozenset[Place], labels: Labels) -> dict[str, dict[str, Any]]:
    """Return the score of each kind."""
    groups: defaultdict[str, list[frozenset[Place]]] = defaultdict(list)
    for kind in sorted({place[3] for place in labels.hits}):
        for places in (found, labels.hits, labels.beyond):
            groups[kind].append(frozenset(p for p in places if p[3] == kind))
    return {
        kind: score(got, Labels(labels.packages, labels.files, hits, beyond)).as_data()
        for kind, (got, hits, beyond) in groups.items()
    }
