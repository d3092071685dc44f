"""What one source file says, whatever its language: imports, bindings, calls and strings.

A reader of a language (``python``, ``go``, ...) turns a syntax tree into these; ``matches`` turns
these and the rules into sightings. Names are resolved by scope: scope 0 is the file, and every
function or class is a scope with a parent. Attributes of the object that a method belongs to are
one name, ``self.client``, bound in the scope of the class.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spot:
    """A place: line and column from 1, and the start of the code there."""

    line: int
    column: int
    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A call inside a chain. ``literals`` are strings among its arguments, by position or name.

    ``names`` are plain names among them, so that a service named by a variable can be looked up.
    ``new`` marks a construction where the language has a word for it.
    """

    literals: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    new: bool = False


Chain = tuple[str | Called, ...]
"""``boto3.client("s3").get_object(…)`` is ("boto3", "client", Called, "get_object", Called)."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported path. ``local`` is the name it binds, to the path ``bound``; None: no name."""

    spot: Spot
    path: str
    local: str | None
    bound: str
    scope: int = 0
    star: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """A name gets a value: one of some chains, a literal string, a declared type, or unknown.

    ``seen_from`` is the scope in which the chains stand, where that is another one: what a function
    returns is bound to ``name()`` around it, and stands in it.
    """

    name: str
    scope: int
    line: int
    chains: tuple[Chain, ...] = ()
    literal: str | None = None
    declared: tuple[Chain, ...] = ()
    seen_from: int = -1


@dataclass(frozen=True, slots=True)
class Use:
    """A call; the last element of its chain is the ``Called``."""

    spot: Spot
    chain: Chain
    scope: int


@dataclass(frozen=True, slots=True)
class Text:
    """A string literal that is neither a comment nor documentation; ``value`` without quotes."""

    spot: Spot
    value: str


@dataclass(slots=True)
class Facts:
    """Everything that the rules need to know of one file."""

    language: str
    parents: list[int] = field(default_factory=lambda: [-1])
    imports: list[Import] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    indents: list[int] = field(default_factory=list)
    """How far each line is indented, from line 1, where that tells blocks apart; an empty one: a
    large number. Empty where the language has brackets."""
    implements: list[str] = field(default_factory=list)
    """Names of classes that classes of this file derive from or implement, as written."""
