"""Who is compared: embedders in this process, services given on the command line, the one in use.

A service is written NAME=URL,model=…,dimensions=…,price_per_million_tokens=… with key_env=VARIABLE
where it wants a key, or NAME=block:BLOCK,… for a connection that the ledger knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from qafila.backfill.generations import model_of
from qafila.embedders.governor import Purse, service_name
from qafila.embedders.openai_compatible import OpenAIEmbedder as OverHttp
from qafila.embedders.port import Embedder
from qafila.endpoints import embedder_of
from qafila.workload.corpus import Embedder as Settings
from qafila.workload.corpus import OpenAIEmbedder, WordLlamaEmbedder
from qafila.workload.fingerprint import VectorPart

_WIDTHS = (256, 128, 64)
IN_PROCESS: Mapping[str, WordLlamaEmbedder] = {
    f"wordllama-{width}{'' if lower else '-cased'}": WordLlamaEmbedder.model_validate(
        {"kind": "wordllama", "dimensions": width, "lowercase": lower}
    )
    for width in _WIDTHS
    for lower in (True, False)
}
BLOCK = "block:"
_TIMEOUT_SECONDS = 30.0
_NEEDED = ("model", "dimensions", "price_per_million_tokens")
_OPTIONAL = (
    "revision",
    "ask_dimensions",
    "requests_per_minute",
    "tokens_per_minute",
    "batch_texts",
    "batch_tokens",
    "text_tokens",
)
_OURS = ("key_env", "timeout_seconds")

Connection = Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """One embedder; ``connection`` (url, api_key, timeout_seconds) is None in process.

    ``key_from`` says where its key comes from, for a person who has to correct it.
    """

    name: str
    settings: Settings
    connection: Connection | None = field(default=None, repr=False)
    key_from: str = ""

    @property
    def service(self) -> str:
        """Return address and model of a service; empty in process."""
        if self.connection is None:
            return ""
        assert isinstance(self.settings, OpenAIEmbedder)
        return service_name(str(self.connection["url"]), self.settings.model)

    @property
    def price(self) -> float:
        """Return what a million tokens cost."""
        settings = self.settings
        return settings.price_per_million_tokens if isinstance(settings, OpenAIEmbedder) else 0.0

    @property
    def vectors(self) -> VectorPart:
        """Return what makes its vectors."""
        return VectorPart(*model_of(self.settings), self.settings.dimensions, True)

    @property
    def max_tokens(self) -> int | None:
        """Return how many tokens it reads of a text at most, where somebody has said so."""
        settings = self.settings
        if isinstance(settings, OpenAIEmbedder) and "text_tokens" in settings.model_fields_set:
            return settings.text_tokens
        return None


def in_process(names: Sequence[str], problems: list[str]) -> list[Candidate]:
    """Return the candidates of these names; adds who is not one to the problems."""
    unknown = [n for n in names if n not in IN_PROCESS]
    problems += [f"--in-process {n}: there is only {', '.join(IN_PROCESS)}" for n in unknown]
    return [Candidate(n, IN_PROCESS[n]) for n in dict.fromkeys(names) if n in IN_PROCESS]


def parse_endpoint(
    written: str,
    environment: Mapping[str, str],
    connection_of: Callable[[str], Connection] | None,
    problems: list[str],
) -> Candidate | None:
    """Return the service that is written so; adds everything that is wrong to the problems.

    ``connection_of`` finds a block in the ledger; None: no ledger is known.
    """
    before = len(problems)

    def wrong(what: str) -> None:
        problems.append(f"--endpoint {name or written}: {what}")

    name, _, rest = written.partition("=")
    address, *parts = rest.split(",")
    given: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or key not in (*_NEEDED, *_OPTIONAL, *_OURS):
            wrong(f"{part!r} is none of {', '.join((*_NEEDED, *_OPTIONAL, *_OURS))}=VALUE")
        elif key in given:
            wrong(f"{key} is there twice")
        else:
            given[key] = value.strip()
    for key in _NEEDED:
        if key not in given:
            wrong(f"{key}= is missing")
    settings = _settings(name, given, wrong)
    connection, key_from = _connection(address, given, environment, connection_of, wrong)
    if name in IN_PROCESS:
        wrong("this name is one of ours")
    if len(problems) > before or settings is None or connection is None:
        return None
    return Candidate(name, settings, connection, key_from)


def _settings(
    name: str, given: Mapping[str, str], wrong: Callable[[str], None]
) -> OpenAIEmbedder | None:
    values = {k: v for k, v in given.items() if k not in _OURS}
    try:
        return OpenAIEmbedder.model_validate({"kind": "openai", "block": name, **values})
    except ValidationError as error:
        for one in error.errors():
            field_ = str(one["loc"][0]) if one["loc"] else ""
            if field_ == "block":
                wrong("its name is lower-case letters, digits and hyphens, 40 at most")
            elif field_ in values:
                wrong(f"{field_}={values[field_]}: {one['msg']}")
        return None


def _connection(
    address: str,
    given: Mapping[str, str],
    environment: Mapping[str, str],
    connection_of: Callable[[str], Connection] | None,
    wrong: Callable[[str], None],
) -> tuple[Connection | None, str]:
    if address.startswith(BLOCK):
        block = address[len(BLOCK) :]
        for key in _OURS:
            if key in given:
                wrong(f"{key} is the block's own")
        if connection_of is None:
            wrong("a block is in the ledger, so it needs --workload")
            return None, ""
        return connection_of(block), f"the block {block!r}"
    timeout = _TIMEOUT_SECONDS
    try:
        timeout = float(given.get("timeout_seconds", timeout))
        if not 0 < timeout <= 600:
            raise ValueError
    except ValueError:
        wrong(f"timeout_seconds={given['timeout_seconds']} is no number from 0 to 600")
    try:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError
        if parts.username or parts.password:
            wrong("a key has no place in the address: name its variable by key_env=")
        _ = parts.port
    except ValueError:
        shown = address.rpartition("@")[2]  # before it there may be a key
        wrong(f"{shown!r} is no address; it begins with http:// or https:// and ends at /v1")
    variable = given.get("key_env")
    if variable is not None and not environment.get(variable):
        wrong(f"the variable {variable} (key_env) is not set")
    secret = None if variable is None else environment.get(variable)
    found: Connection = {"url": address, "api_key": secret, "timeout_seconds": timeout}
    return (
        found,
        "no key_env=, so there is none" if variable is None else f"the variable {variable}",
    )


@contextmanager
def open_candidate(candidate: Candidate, ledger_address: str, purse: Purse) -> Iterator[Embedder]:
    """Open it; one behind a network pays out of the purse, through the ledger's governor."""
    if candidate.connection is None:
        yield embedder_of(candidate.settings)
        return
    assert isinstance(candidate.settings, OpenAIEmbedder)
    embedder = OverHttp(candidate.settings, candidate.connection, ledger_address, purse, time.sleep)
    try:
        yield embedder
    finally:
        embedder.close()
