"""What Envoy needs to know of the two arms, and the problems an address can have. Pure.

An arm is a service by its address, or an OpenAI-compatible provider behind a model's alias: then
its own model name, path prefix, host and credential are put in on the way.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from qafila.errors import BadInput
from qafila.workload.model import Service

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
CREDENTIAL = "credential"  # the secret's name in the operator's file
PREFIX = "/v1"  # what users of an OpenAI-compatible service ask; a provider may have another


@dataclass(frozen=True)
class Arm:
    """One arm: ``url``, and behind an alias the provider's name for the ``model``.

    ``credential_file`` is a file in Envoy's SDS form on Envoy's machine, with one generic secret
    named ``credential`` whose value is a whole ``authorization`` header; it is never read here.
    ``ca_file`` holds the authorities of an https address; None: the system's.
    """

    url: str
    model: str | None = None
    credential_file: str | None = None
    ca_file: str | None = None

    @property
    def address(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        return self.address.hostname or ""

    @property
    def port(self) -> int:
        return self.address.port or (443 if self.encrypted else 80)

    @property
    def origin(self) -> str:
        """Return ``scheme://host:port`` in one spelling; http is not https."""
        host = self.host.lower().rstrip(".")
        return f"{self.address.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def encrypted(self) -> bool:
        return self.address.scheme == "https"

    @property
    def prefix(self) -> str:
        """Return the path of the provider that stands for the user's ``/v1``; empty: none."""
        return self.address.path.rstrip("/")

    @property
    def foreign(self) -> bool:
        """Say whether the arm is reached under its own host name instead of the user's."""
        return self.encrypted or self.model is not None or bool(self.prefix)


@dataclass(frozen=True)
class RouteSettings:
    """How long an arm is waited for, and what may be asked twice.

    ``per_try_s`` bounds what a hanging canary costs a user: after it, a request that may be asked
    twice is asked of the baseline. It holds for the baseline's own answers too, so it must be well
    above the slowest normal answer, or a healthy service is asked twice and then fails: 5 s is far
    above that of a search. An answer that has begun is not cut by it, so that streams go on;
    ``whole_s`` ends any answer, open streams too, and is all that bounds a hanging candidate where
    a request may not be asked twice.

    ``canary_at_once`` requests may be open at the candidate; more go to the baseline, or fail at
    once where they may not be asked twice. It is far above what a healthy one has open: its rate
    times its latency, for instance 1 000 requests a second at 0.1 s, which is 100.
    ``idempotent_posts``: POST may be asked twice. ``alias`` is the model name that users send.
    """

    per_try_s: float = 5.0
    whole_s: float = 120.0
    idempotent_posts: bool = False
    canary_at_once: int = 1024
    alias: str | None = None

    def stored(self) -> dict[str, Any]:
        """Return what is kept beside the routes, so that any process can write them again."""
        return asdict(self)

    @classmethod
    def restored(cls, stored: Mapping[str, Any] | None) -> RouteSettings:
        """Return settings as stored; those of an older file are the defaults."""
        known = {k: v for k, v in (stored or {}).items() if k in cls.__dataclass_fields__}
        return cls(**known) if known else cls()


def arms_of(service: Service) -> tuple[Arm, Arm, RouteSettings]:
    """Return baseline, candidate and settings as a workload file says them."""
    baseline, candidate = (
        Arm(arm.url, arm.model, arm.credential_file, arm.ca_file)
        for arm in (service.baseline, service.candidate)
    )
    settings = RouteSettings(
        per_try_s=service.try_s,
        whole_s=service.answer_timeout_s,
        idempotent_posts=service.idempotent_posts,
        alias=service.alias,
    )
    return baseline, candidate, settings


def as_arm(arm: Arm | str) -> Arm:
    return Arm(arm) if isinstance(arm, str) else arm


def require_arms(baseline: Arm, candidate: Arm, settings: RouteSettings) -> None:
    """Refuse what Envoy cannot route to.

    Raises:
        BadInput: naming every problem.
    """
    problems = [
        *_problems("baseline", baseline, settings.alias),
        *_problems("candidate", candidate, settings.alias),
    ]
    if settings.alias is not None and not MODEL.fullmatch(settings.alias):
        problems.append(f"service.alias: {settings.alias!r} is no model name.")
    if not 0 < settings.per_try_s <= settings.whole_s:
        problems.append(
            f"service.per_try_timeout_s: {settings.per_try_s:g} s is not between 0 and the "
            f"{settings.whole_s:g} s of a whole answer."
        )
    if settings.canary_at_once < 1:
        problems.append(f"the candidate needs at least 1 request, not {settings.canary_at_once}.")
    if problems:
        raise BadInput(
            "Envoy cannot route to these addresses:",
            problems,
            remedy="write them as http://host:port in the workload file, then: qafila apply FILE",
        )


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _problems(name: str, arm: Arm, alias: str | None) -> list[str]:
    where, found = f"service.{name}", []
    try:
        address, _ = arm.address, arm.address.port
    except ValueError:
        return [f"{where}.url: {arm.url!r} has no port that is a number up to 65535."]
    if address.scheme not in ("http", "https") or not arm.host:
        found.append(f"{where}.url: {arm.url!r} is not http://host:port.")
    if address.query or address.fragment or address.username or address.password:
        found.append(f"{where}.url: {arm.url!r} is more than scheme, host, port and path.")
    if arm.prefix and alias is None:
        found.append(
            f"{where}.url: {arm.url!r} has a path; Envoy passes the user's own path on, unless "
            "service.alias is set: then the path stands for /v1."
        )
    if arm.model is not None and alias is None:
        found.append(f"{where}.model is {arm.model!r}, but service.alias is not set.")
    if arm.model is not None and not MODEL.fullmatch(arm.model):
        found.append(f"{where}.model: {arm.model!r} is no model name.")
    if arm.credential_file is not None and not _is_plain_path(arm.credential_file):
        found.append(
            f"{where}.credential_file: {arm.credential_file!r} is no absolute path without '..', "
            "outside of /proc, /sys and /dev."
        )
    if arm.ca_file is not None and not arm.encrypted:
        found.append(f"{where}.ca_file: {arm.url!r} is not https.")
    return found


def _is_plain_path(path: str) -> bool:
    """Say whether a path has one spelling, which is the same for Envoy and for us."""
    return (
        path.startswith("/")
        and not path.startswith(("//", "/proc/", "/sys/", "/dev/"))
        and posixpath.normpath(path) == path
        and path.isprintable()
    )
