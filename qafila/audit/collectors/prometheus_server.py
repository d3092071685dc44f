"""One Prometheus server, or what speaks its HTTP API v1 (Thanos, Mimir, VictoriaMetrics).

Answers are read up to a size; a redirect is not followed, since a header may hold a credential.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from qafila.audit.collectors.pace import Pacing
from qafila.audit.collectors.port import Look
from qafila.audit.estate import Outcome, outcome_of_error
from qafila.embedders.request_rate import DEFAULT, Rate
from qafila.errors import BadInput

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
RATES = {DEFAULT: Rate(2, 4, source="our own choice: none is documented")}


@dataclass(frozen=True)
class MetricsLimits:
    """How far a look goes. ``bytes``: of one answer; ``series``: of one result."""

    series: int = 10_000
    bytes: int = 64 << 20
    attempts: int = 3
    timeout_s: float = 30.0
    longest_wait_s: float = 10.0


class _Refused(Exception):
    """The server answered, but not with what was asked for."""

    def __init__(self, outcome: Outcome, said: str) -> None:
        super().__init__(said)
        self.outcome = outcome


@dataclass(frozen=True)
class Series:
    """One element of an instant vector: its labels and its value."""

    labels: dict[str, str]
    value: float


class Metrics(Look):
    """One server. ``header_file``: a file with one header, as in ``Authorization: Bearer …``.

    ``pacing``: None: a bucket of its own.

    Raises:
        BadInput: the address or the file is not usable.
    """

    def __init__(
        self,
        url: str,
        *,
        header_file: str | Path | None = None,
        limits: MetricsLimits = MetricsLimits(),
        pacing: Pacing | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in url:
            raise BadInput(
                "the given address is none of a Prometheus server.",
                remedy="name http or https, a host and a port; a credential goes into a file with "
                "one header.",
            )
        port = parts.port or (443 if parts.scheme == "https" else 80)
        # Behind one gateway the path tells servers apart.
        super().__init__(f"{parts.hostname}:{port}{parts.path.rstrip('/')}")
        self.limits = limits
        self._pacing = Pacing(RATES, share=1) if pacing is None else pacing
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers={} if header_file is None else header_in(Path(header_file)),
            timeout=limits.timeout_s,
            follow_redirects=False,
        )

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._http.close()

    def identifier(self, *parts: str) -> str:
        """Return the id of the server, or of a target of it: job, then instance."""
        return "/".join([f"prometheus:{self.region}", *parts])

    def get(self, path: str, **parameters: str) -> Any:
        """Return ``data`` of one answer; what the server warns of is noted.

        Raises what :meth:`outcome_of` knows.
        """
        for left in reversed(range(self.limits.attempts)):
            self.calls += 1
            self._pacing.wait("", self.region, "prometheus", path)
            status, content, asked = self._read(path, parameters)
            if status != 429:
                self._pacing.answered("", self.region, "prometheus", path)
                break
            asked = min(asked, self.limits.longest_wait_s)
            self._pacing.refused("", self.region, "prometheus", path, asked)
            if not left:
                break
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if status != 200:
            kind = answer.get("errorType") if isinstance(answer, dict) else None
            said = f"HTTP {status}" + (f" {kind}" if isinstance(kind, str) else "")
            raise _Refused(outcome_of_error("", status), said)
        if not isinstance(answer, dict) or answer.get("status") != "success":
            raise _Refused(Outcome.UNSUPPORTED, "the answer is not one of Prometheus' API")
        if warnings := answer.get("warnings"):
            self.missed(
                Outcome.TRUNCATED,
                f"{path}: the server warns of {len(warnings)} things that it did not see",
            )
        return answer.get("data")

    def query(self, expression: str) -> list[Series]:
        """Return an instant vector of now; values that are no number are left out."""
        data = self.get("/api/v1/query", query=expression)
        if not isinstance(data, dict) or data.get("resultType") != "vector":
            raise _Refused(Outcome.UNSUPPORTED, "the answer is not an instant vector")
        result = data.get("result") or []
        if len(result) > self.limits.series:
            self.missed(
                Outcome.TRUNCATED, f"{len(result)} series, {self.limits.series} were looked at"
            )
        try:
            found = [
                Series({str(k): str(v) for k, v in e["metric"].items()}, float(e["value"][1]))
                for e in result[: self.limits.series]
            ]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _Refused(Outcome.UNSUPPORTED, "the answer is not an instant vector") from error
        return [series for series in found if math.isfinite(series.value)]

    def outcome_of(self, error: Exception) -> tuple[Outcome, str] | None:
        if isinstance(error, _Refused):
            return error.outcome, str(error)
        if isinstance(error, httpx.HTTPError):
            return Outcome.UNSUPPORTED, f"no usable answer ({type(error).__name__})"
        return None

    def _read(self, path: str, parameters: dict[str, str]) -> tuple[int, bytes, float]:
        with self._http.stream("GET", path, params=parameters) as answer:
            content = bytearray()
            for part in answer.iter_bytes():
                content += part
                if len(content) > self.limits.bytes:
                    raise _Refused(
                        Outcome.TRUNCATED, f"the answer is larger than {self.limits.bytes} bytes"
                    )
            hint = answer.headers.get("retry-after", "")
            return answer.status_code, bytes(content), float(hint) if hint.isdecimal() else 1.0


def _plain(value: str) -> bool:
    return bool(value) and value.isascii() and value.isprintable()


def header_in(path: Path) -> dict[str, str]:
    """Return the header of a file. Its text is in no message.

    Raises:
        BadInput: the file cannot be read, or does not hold one header.
    """
    try:
        lines = path.read_text("utf-8").strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"the header file {path} cannot be read.", remedy="name a file of one line of text."
        ) from error
    name, colon, value = lines[0].partition(":") if len(lines) == 1 else ("", "", "")
    if not colon or not _HEADER.fullmatch(name.strip()) or not _plain(value.strip()):
        raise BadInput(
            f"the header file {path} does not hold one header.",
            remedy="write one line, as in: Authorization: Bearer TOKEN",
        )
    return {name.strip(): value.strip()}
