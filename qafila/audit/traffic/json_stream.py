"""JSON read piece by piece: one large object, many objects on lines of their own, or an array.

Only one element is in memory at a time. A broken piece is told with its line, and reading goes on
at the next line that begins an object.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qafila.audit.traffic.files import CutShort, read_some

LONGEST = 32 << 20  # characters of one element
_PIECE = 1 << 18
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Element:
    """One element of a wanted array; ``key`` is "" for one of an array without a name."""

    key: str
    value: Any
    line: int


@dataclass(frozen=True)
class Broken:
    """A piece that is no JSON; ``ended``: nothing after it could be read."""

    line: int
    why: str
    ended: bool = False


class _Malformed(Exception):
    pass


def elements(
    stream: io.TextIOBase, keys: frozenset[str], fields: frozenset[str] = frozenset()
) -> Iterator[Element | Broken]:
    """Yield the elements of each array that stands under one of ``keys`` in a top-level object.

    The elements of a top-level array are yielded with the key "", and so is what a top-level
    object has of ``fields``, where it has any. All else is skipped.
    """
    text = _Text(stream)
    while text.peek():
        try:
            if text.peek() == "{":
                yield from _object(text, keys, fields)
            elif text.peek() == "[":
                yield from _array(text, "")
            else:
                raise _Malformed("begins no JSON object")
        except _Malformed as error:
            line, ended = text.line(), not text.recover()
            yield Broken(line, text.failed or str(error), ended)
            if ended:
                return
    if text.failed:
        yield Broken(text.line(), text.failed, True)


def _object(text: _Text, keys: frozenset[str], fields: frozenset[str]) -> Iterator[Element]:
    line, kept = text.line(), {}
    text.take("{")
    while text.peek() != "}":
        key = text.value()
        if not isinstance(key, str):
            raise _Malformed("a key is no string")
        text.take(":")
        if key in keys and text.peek() == "[":
            yield from _array(text, key)
        elif key in fields:
            kept[key] = text.value()
        else:
            text.value()
        if text.peek() != "}":
            text.take(",")
    text.take("}")
    if kept:
        yield Element("", kept, line)


def _array(text: _Text, key: str) -> Iterator[Element]:
    text.take("[")
    while text.peek() != "]":
        line = text.line()
        yield Element(key, text.value(), line)
        if text.peek() != "]":
            text.take(",")
    text.take("]")


class _Text:
    """A window that moves over the text; keeps one character behind, to find line starts."""

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream = stream
        self._text = ""
        self._place = 0
        self._counted = 0
        self._lines = 1
        self._decoder = json.JSONDecoder()
        self._ended = False
        self.failed = ""

    def line(self) -> int:
        """Return the line of what comes next, from 1."""
        self._lines += self._text.count("\n", self._counted, self._place)
        self._counted = self._place
        return self._lines

    def peek(self) -> str:
        """Return the next character that is no space, without taking it; "" at the end."""
        while True:
            found = _SPACE.match(self._text, self._place)
            self._place = found.end() if found else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more(_PIECE):
                return ""

    def take(self, sign: str) -> None:
        """Take one sign that must come next."""
        found = self.peek()
        if found != sign:
            raise _Malformed(
                f"ends in the middle, before {sign}"
                if not found
                else f"{sign} expected, not {found!r}"
            )
        self._place += 1

    def value(self) -> Any:
        """Take one whole value."""
        if not self.peek():
            raise _Malformed("ends in the middle")
        wanted = _PIECE
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                near = len(self._text) - error.pos < 64
                if not (near or error.msg.startswith("Unterminated")):
                    raise _Malformed(error.msg) from error
                reason = "ends in the middle" if near else error.msg
            except (ValueError, RecursionError) as error:
                raise _Malformed("holds what no reader takes") from error
            else:
                if end < len(self._text) or self._ended:
                    self._place = end
                    return found
                reason = ""
            if len(self._text) - self._place > LONGEST:
                raise _Malformed(f"is longer than {LONGEST >> 20} MiB")
            if not self._more(wanted) and reason:
                raise _Malformed(reason)
            wanted *= 2

    def recover(self) -> bool:
        """Go to the next line that begins an object; False when there is none."""
        at = max(0, self._place - 1)
        while True:
            found = self._text.find("\n{", at)
            if found >= 0:
                self._place = found + 1
                return True
            self._place = len(self._text)
            at = 0
            if not self._more(_PIECE):
                return False

    def _more(self, size: int) -> bool:
        if self._ended:
            return False
        try:
            piece = read_some(self._stream, size)
        except CutShort as error:
            piece, self.failed = "", f"is cut off: {error}"
        self._ended = not piece
        self.line()
        kept = max(0, self._place - 1)
        self._counted -= kept
        self._text = self._text[kept:] + piece
        self._place -= kept
        return bool(piece)
