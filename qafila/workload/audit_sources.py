"""Clusters and servers of metrics that an audit reads, as a workload file names them.

The short form is a name or an address; the long one says more of it. What is written in the short
form is kept in it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from qafila.workload.corpus import Model, Name

Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class _ShortForm(Model):
    """A model that a bare text stands for: the value of its first field."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        first, *others = cls.model_fields
        if isinstance(given, str):
            return {first: given}
        if not isinstance(given, dict | cls):
            raise ValueError(f"give the {first} alone, or {first} with {' and '.join(others)}")
        return given

    @model_serializer(mode="wrap")
    def _to_text(self, write: SerializerFunctionWrapHandler) -> Any:
        first, *others = type(self).model_fields
        written = write(self)
        return written if any(getattr(self, name) for name in others) else written[first]


class ClusterSource(_ShortForm):
    """A connection to a Kubernetes cluster, alone or with the namespaces to look into."""

    block: Name = Field(
        description="Connection to the cluster; its name alone may stand in place of both fields."
    )
    namespaces: tuple[Namespace, ...] = Field(
        (),
        max_length=200,
        description="Look into these alone, for a role that is allowed no more; none: into all.",
    )


class MetricsSource(_ShortForm):
    """A server that speaks Prometheus' HTTP API, alone or with a header to send."""

    url: str = Field(
        max_length=1000,
        description="Address, `http://…` or `https://…`, without user, password and query; it "
        "alone may stand in place of both fields.",
    )
    header_file: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None,
        description="File with one header, as in `Authorization: Bearer …` or `X-Scope-OrgID: …`, "
        "which is sent with each request. None: no header is.",
    )

    @model_validator(mode="after")
    def _an_address_without_a_secret(self) -> MetricsSource:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if "@" in self.url or set(self.url) & set("?#"):  # a password may hold a slash
            raise ValueError(
                "the address may hold no user, password or query; put a credential into a file "
                "with one header, and name it as header_file"
            )
        if not usable or any(c.isspace() for c in self.url):
            raise ValueError("the address of a server is http or https, a host, and maybe a port")
        return self


def named_once(given: Iterable[tuple[str, Hashable]], what: str) -> None:
    """Refuse two entries of one name that say different things of it; the same twice is one.

    Raises:
        ValueError: names each.
    """
    first: dict[str, Hashable] = {}
    twice = {name for name, entry in given if first.setdefault(name, entry) != entry}
    if twice:
        raise ValueError(f"named twice, with different {what}: {', '.join(sorted(twice))}")
