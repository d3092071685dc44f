"""Read files, one batch at a time, in any process: count lines, find what touches a provider."""

from __future__ import annotations

import os
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from qafila.audit.code_scan import go, java, javascript, python
from qafila.audit.code_scan.abstraction import Seen, is_port
from qafila.audit.code_scan.facts import Facts
from qafila.audit.code_scan.folders import Limits, Skipped, refused
from qafila.audit.code_scan.light import imports_of, language_of
from qafila.audit.code_scan.matches import match
from qafila.audit.code_scan.own import Own, is_source_root
from qafila.audit.code_scan.rule_tables import parse_rules
from qafila.audit.code_scan.rules import Rules


@dataclass(slots=True)
class Batch:
    """What was found in some files of one repository."""

    seen: list[Seen] = field(default_factory=list)
    imports: dict[str, frozenset[str]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    skipped: Skipped = field(default_factory=Skipped)
    lines: int = 0
    size_bytes: int = 0


@cache
def rules() -> Rules:
    """Return the rules that ship with Qafila."""
    folder = files("qafila.data") / "lock_in"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".toml"))
    return parse_rules(*((folder / name).read_text(encoding="utf-8") for name in names))


@cache
def _addresses() -> re.Pattern[bytes]:
    return re.compile(rf"[./\"'`@}}]{any_of(rules().fragments)}".encode())


def any_of(words: Iterable[str]) -> str:
    """Return an expression that finds where any of the words begins; it looks at a letter once."""
    rests: defaultdict[str, list[str]] = defaultdict(list)
    for word in words:
        if not word:
            return ""
        rests[word[0]].append(word[1:])
    return f"(?:{'|'.join(re.escape(head) + any_of(rests[head]) for head in sorted(rests))})"


@cache
def _texts() -> tuple[tuple[bytes, re.Pattern[bytes]], ...]:
    return tuple((word.encode(), re.compile(p.encode())) for word, p in rules().seeks)


def speaks(content: bytes) -> bool:
    """Say whether a file holds anything that could be an address or a text of the rules."""
    lowered = content.lower()
    return _addresses().search(lowered) is not None or any(
        word in lowered and pattern.search(lowered) for word, pattern in _texts()
    )


@cache
def _wanted() -> str:
    """Return what strings to look at, as an expression of ast-grep's."""
    words = [re.escape(word) for word in rules().fragments]
    return f"(?i){'|'.join([*words, *(pattern for _, pattern in rules().seeks)])}"


def read_batch(root: str, names: Sequence[str], limits: Limits) -> Batch:
    """Read files relative to a folder; nothing in them is executed or imported."""
    _folder.cache_clear()  # folders change between two scans
    _is_package.cache_clear()
    _of_repository.cache_clear()
    batch = Batch()
    for name in names:
        _read(Path(root), name, limits, batch)
    return batch


def _read(root: Path, name: str, limits: Limits, batch: Batch) -> None:
    language = language_of(name)
    assert language is not None
    try:
        with open(root / name, "rb") as file:
            content = file.read(limits.file_bytes + 1)
    except OSError:
        batch.skipped.note("unreadable", name)
        return
    reason = refused(content, limits)
    if reason is not None:
        batch.skipped.note(reason, name)
        return
    imports = imports_of(language, content)
    interesting = any(rules().module(language, path) is not None for path in imports)
    has_texts = speaks(content)
    if interesting or has_texts:
        source = _decoded(language, content)
        if source is None:
            batch.skipped.note("undecodable", name)
            return
        facts = facts_of(name, source, _wanted() if has_texts else None, names=interesting)
        _match(root, name, language, facts, batch)
    batch.lines += content.count(b"\n") + (not content.endswith(b"\n") and bool(content))
    batch.size_bytes += len(content)
    batch.languages[language] += 1
    if imports:
        batch.imports[name] = frozenset(imports)


def _decoded(language: str, content: bytes) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if language != "python":
            return None
    try:
        encoding = tokenize.detect_encoding(BytesIO(content).readline)[0]
        return content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return None


def facts_of(name: str, source: str, wanted: str | None, *, names: bool = True) -> Facts:
    """Return the facts of a source text whose language its name tells.

    ``wanted`` is an expression of the strings to keep; None: none. ``names`` False: only strings.
    """
    language = language_of(name)
    if language == "python":
        return python.read(source, wanted, names=names)
    if language == "java":
        return java.read(source, wanted, names=names)
    if language == "go":
        return go.read(source, wanted, names=names)
    grammar = "typescript" if name.endswith("ts") else "tsx"
    return javascript.read(source, wanted, grammar, names=names)


def _match(root: Path, name: str, language: str, facts: Facts, batch: Batch) -> None:
    own = _own(root, name, language)
    sightings = match(facts, rules(), own)
    if sightings:
        batch.seen.append(Seen(name, language, tuple(sightings), _is_port(facts, own, name)))


def _is_port(facts: Facts, own: Own, name: str) -> bool:
    """Say whether a class of this file implements a type that the repository defines elsewhere."""
    bound = {i.local: i.bound for i in facts.imports if i.local}
    for implemented in facts.implements:
        path = bound.get(implemented.split(".", 1)[0])
        if path is None or not is_port(implemented):
            continue
        if path.startswith(".") or (facts.language == "python" and own.contains(path)):
            return True
        if facts.language == "java" and "/".join(path.split(".")[:2]) in name:
            return True
    return False


@cache
def _folder(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


@cache
def _is_package(folder: str) -> bool:
    """Say whether a folder is a package of its own, and no namespace that others share."""
    if "__init__.py" not in _folder(folder):
        return False
    try:
        with open(f"{folder}/__init__.py", "rb") as file:
            return _NAMESPACE.search(file.read(4_096)) is None
    except OSError:
        return True


_NAMESPACE = re.compile(rb"\b(?:extend_path|declare_namespace)\(")


@cache
def _of_repository(root: str) -> frozenset[str]:
    """Return the packages that a repository itself is; none for a folder of installed packages."""
    if any(name.endswith(".dist-info") for name in _folder(root)):
        return frozenset()
    tops = [root, f"{root}/src"] if "src" in _folder(root) else [root]
    return frozenset(name for top in tops for name in _packages(top, ""))


def _packages(folder: str, above: str) -> list[str]:
    """Return the packages in a folder, and in the namespaces of providers below it: google.auth."""
    found = []
    for name in _folder(folder):
        path = f"{above}{name}"
        if _is_package(f"{folder}/{name}"):
            found.append(path)
        elif rules().leads("python", path):
            found += _packages(f"{folder}/{name}", f"{path}.")
    return found


def _dotted(folders: tuple[str, ...]) -> str:
    """Return the path of a folder with an __init__.py: namespaces above it have no such file."""
    at = len(folders) - 1
    while at > 0 and not is_source_root(folders[at - 1]):
        at -= 1
    return ".".join(folders[at:])


def _own(root: Path, name: str, language: str) -> Own:
    folders = Path(name).parent.parts
    if language != "python":
        return Own(folders=folders if language == "java" else ())
    own = _of_repository(str(root))
    package, above = "", root
    while "__init__.py" in _folder(str(above)):  # the folder given is inside a package
        package, above = above.name, above.parent
    at = root
    for depth, folder in enumerate(folders):
        at = at / folder
        if not package and _is_package(str(at)):
            package = _dotted(folders[: depth + 1])
    if not package:
        beside = {f[:-3] for f in _folder(str(at)) if f.endswith(".py")} - {Path(name).stem}
        return Own("", own | beside, folders)
    return Own(package, own, folders)
