"""Look at a file's bytes before anything is parsed: which modules does it import at all?

Most files touch no provider; these are only counted. What is read here may be more than the file
imports (a sentence with the word import in it), never less, so that no file is left out wrongly.
No pattern looks at a run of characters again from each of them, whatever a file holds.
"""

from __future__ import annotations

import re
import sys
from pathlib import PurePosixPath

LANGUAGE = {
    ".py": "python",
    ".pyi": "python",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".ts": "javascript",
    ".mts": "javascript",
    ".cts": "javascript",
    ".tsx": "javascript",
    ".java": "java",
    ".go": "go",
}

_PYTHON = re.compile(
    rb"\b(?:from[ \t]+([\w.]+)(?:[ \t]|\\\r?\n)+import[ \t]*"
    rb"(\((?:[^()#]++|#[^\n]*+)*+\)|[^\n;#\\]*+(?:\\\r?\n[^\n;#\\]*+)*+)"
    rb"|import[ \t]+([\w.][^\n;#\\]*+(?:\\\r?\n[^\n;#\\]*+)*+))"
)
_DYNAMIC = re.compile(rb"(?:import_module|__import__)\(\s*[\"']([\w.]+)")
_JAVASCRIPT = re.compile(rb"(?:\bfrom|\brequire|\bimport)\s*+(?:\(\s*+)?[\"'`]([^\"'`\n]+)")
_JAVA = re.compile(rb"^[ \t]*import\s+(?:static\s+)?([\w.]+)", re.M)
_GO = re.compile(rb"\"([\w.~-]+(?:/[\w.~-]+)*)\"")
_WORD = re.compile(rb"[\w.]+")
_NAME = re.compile(rb"\w+")
_STANDARD = frozenset(sys.stdlib_module_names)


def language_of(name: str) -> str | None:
    """Return the language of a file by its ending, or None."""
    return LANGUAGE.get(PurePosixPath(name).suffix.lower())


def imports_of(language: str, content: bytes) -> set[str]:
    """Return every path that a file may import, in the words of its language."""
    if language == "python":
        return _of_python(content)
    pattern = {"javascript": _JAVASCRIPT, "java": _JAVA, "go": _GO}[language]
    return {found.decode("utf-8", "replace") for found in pattern.findall(content)}


def _of_python(content: bytes) -> set[str]:
    found: set[str] = set()
    for base, names, plain in _PYTHON.findall(content):
        if plain:
            for part in plain.split(b","):
                if (word := _WORD.search(part)) is not None:
                    found.add(word[0].decode("ascii", "replace"))
            continue
        module = base.decode("ascii", "replace")
        if module.split(".", 1)[0] in _STANDARD:
            continue
        found.add(module)
        join = "" if module.endswith(".") else "."
        found |= {
            f"{module}{join}{name.decode('ascii', 'replace')}" for name in _NAME.findall(names)
        }
    if b"import_module" in content or b"__import__" in content:
        found |= {name.decode("ascii", "replace") for name in _DYNAMIC.findall(content)}
    return {path for path in found if path.split(".", 1)[0] not in _STANDARD}
