"""An AWS API on loopback that refuses as AWS does: moto behind a gate, in a process of its own.

Moto answers, since its resources and shapes are the real ones; the gate adds what moto has not:
a share of the calls is throttled, chosen by chance; some services are denied; a bucket that gets
more than AWS documents throttles the rest (``over_rate`` counts them); EC2's lists come in pages.
Calls signed by the key ``seeder`` are neither counted nor refused.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlencode

from benchmarks.aws_answers import Answer, protocol_of, refusal, signing_service, spelled
from qafila.audit.collectors.pace import documented_rates
from qafila.embedders.request_rate import Pace, next_start, rate_of

SEEDER = "seeder"
COUNTS = "/qafila/counts"
_CLIENTS = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "elasticfilesystem": "efs",
    "es": "opensearch",
}
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Gate:
    """What stands before moto. Safe between threads."""

    def __init__(self, app: App, *, throttle: float, denied: frozenset[str], seed: int) -> None:
        self._app = app
        self._throttle = throttle
        self._denied = denied
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], Pace] = {}
        self._wholes: dict[tuple[str, bytes], ET.Element] = {}
        self.counts: dict[str, Counter[str]] = {
            what: Counter() for what in ("calls", "throttled", "denied", "over_rate")
        }

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        if environ["PATH_INFO"] == COUNTS:
            return _send((200, json.dumps(self.counts).encode(), {}), start_response)
        signed = environ.get("HTTP_AUTHORIZATION", "")
        service = signing_service(signed)
        if not service:
            return self._app(environ, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        environ["wsgi.input"] = BytesIO(body)
        headers = {
            "content-type": environ.get("CONTENT_TYPE", ""),
            "smithy-protocol": environ.get("HTTP_SMITHY_PROTOCOL", ""),
        }
        protocol = protocol_of(service, headers)
        if f"Credential={SEEDER}/" not in signed:
            why = self._refuses(service, _scope(signed, 2), _operation(environ, body))
            if why is not None:
                return _send(refusal(protocol, why), start_response)
        if protocol == "ec2":
            asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            if "MaxResults" in asked:
                return self._page(environ, start_response, asked, _scope(signed, 2))
        try:
            return self._app(environ, start_response)
        except NotImplementedError:  # moto knows the service, and not this call of it
            return _send(spelled(protocol, 501, "NotImplemented"), start_response)

    def _refuses(self, service: str, region: str, operation: str) -> Any:
        """Count a call, and return why it is refused; None: it is not."""
        client = _CLIENTS.get(service, service)
        name, rate = rate_of(documented_rates(), client, operation)
        with self._lock:
            self.counts["calls"][client] += 1
            now = time.monotonic()
            start, pace = next_start(self._buckets.get((region, name), Pace()), rate, now)
            if start > now:
                self.counts["over_rate"][client] += 1
                return "throttled"
            self._buckets[region, name] = pace
            if self._chance.random() < self._throttle:
                self.counts["throttled"][client] += 1
                return "throttled"
            if client in self._denied:
                self.counts["denied"][client] += 1
                return "denied"
            return None

    def _page(
        self,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        asked: dict[str, str],
        region: str,
    ) -> Iterable[bytes]:
        """Return one page of a list that moto gives whole. A token is an offset into it.

        Moto writes the whole list anew for each page of it, which takes seconds: it is kept.
        """
        size, offset = int(asked.pop("MaxResults")), int(asked.pop("NextToken", 0))
        query = urlencode(asked).encode()
        root = self._wholes.get((region, query))
        if root is None:
            environ |= {"wsgi.input": BytesIO(query), "CONTENT_LENGTH": str(len(query))}
            told: list[Any] = []
            content = b"".join(self._app(environ, lambda *told_: told.extend(told_)))
            root = ET.fromstring(content)
            if not told[0].startswith("200") or sum(map(_is_list, root)) != 1:
                start_response(*told)
                return [content]
            self._wholes[region, query] = root
        page = ET.Element(root.tag)
        for child in root:
            if _is_list(child):
                ET.SubElement(page, child.tag).extend(child[offset : offset + size])
                if offset + size < len(child):
                    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
                    ET.SubElement(page, f"{space}nextToken").text = str(offset + size)
            elif not child.tag.endswith("nextToken"):
                page.append(child)
        return _send((200, ET.tostring(page), {"Content-Type": "text/xml"}), start_response)


def _is_list(element: ET.Element) -> bool:
    return element.tag.endswith(("Set", "Info"))


def _scope(signed: str, part: int) -> str:
    """Return a part of a signature's scope: 2 is the region."""
    return signed.partition("Credential=")[2].split(",")[0].split("/")[part]


def _operation(environ: dict[str, Any], body: bytes) -> str:
    """Return the operation where the request names it; empty for REST."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return str(target.rsplit(".", 1)[-1])
    path = str(environ["PATH_INFO"])
    if "/operation/" in path:
        return path.rsplit("/", 1)[-1]
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    return parse_qs(body.decode()).get("Action", [""])[0] if form else ""


def _send(answer: Answer, start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, body, headers = answer
    start_response(f"{status} _", [*headers.items(), ("Content-Length", str(len(body)))])
    return [body]


def main() -> None:
    """Serve until a signal ends the process."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import run_simple

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--throttle", type=float, default=0.0)
    parser.add_argument("--denied", default="")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    gate = Gate(
        DomainDispatcherApplication(create_backend_app),
        throttle=given.throttle,
        denied=frozenset(given.denied.split(",")) - {""},
        seed=given.seed,
    )
    MotoRequestHandler.protocol_version = "HTTP/1.1"  # connections are kept
    run_simple("127.0.0.1", given.port, gate, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
