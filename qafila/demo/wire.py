"""What goes over the demo's wires: a day of VPC flow logs, and traces of who calls whom.

Synthetic, like the bill, and in step with it: the pairs that chat between availability zones here
are those whose transfer the bill charges for. Addresses are those of the seeded instances.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from qafila.demo.bill import ACCOUNT
from qafila.demo.estate import Estate
from qafila.demo.estate_plan import Seeded
from qafila.whole_file import write_whole

FLOW_LOG = "flow.log"
TRACES = "traces.json"
_GB = 10**9
_FIELDS = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start "
    "end action log-status"
)


@dataclass(frozen=True)
class _Pair:
    """``caller`` opens connections to ``callee`` at ``port``; gigabytes a day, both ways."""

    caller: str
    callee: str
    port: int
    sent_gb: float
    received_gb: float


# The two orders pairs are the planted chatter: each has its ends in two zones.
PAIRS = (
    _Pair("orders-api-1", "worker-2", 8090, 210, 70),
    _Pair("orders-api-2", "worker-1", 8090, 210, 70),
    _Pair("shop-web-1", "orders-api-1", 8081, 4, 9),
    _Pair("shop-web-2", "orders-api-2", 8081, 4, 9),
    _Pair("shop-web-3", "orders-api-1", 8081, 3, 6),
    _Pair("shop-web-1", "docs-search-1", 9200, 1, 5),
    _Pair("shop-web-2", "docs-search-2", 9200, 1, 5),
    _Pair("docs-search-1", "docs-search-2", 9300, 6, 6),
    _Pair("assistant-gpu-1", "docs-search-1", 9200, 0.5, 3),
)
# caller, callee, and the database's name where the callee is one
CALLS = (
    ("shop-web-1", "orders-api-1", None),
    ("shop-web-2", "orders-api-2", None),
    ("shop-web-1", "docs-search-1", None),
    ("orders-api-1", "orders-db", "orders"),
    ("orders-api-2", "orders-db", "orders"),
    ("worker-1", "orders-db", "orders"),
    ("shop-web-1", "shop-db", "shop"),
    ("assistant-gpu-1", "docs-search-1", None),
)


def write_wire(folder: Path, estate: Estate, now: datetime, *, seed: int = 7) -> tuple[Path, Path]:
    """Write the day that ended with the last full hour; return the flow log and the traces."""
    folder.mkdir(parents=True, exist_ok=True)
    end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    named = {one.name: one for one in estate.seeded if one.name}
    flow_log, traces = folder / FLOW_LOG, folder / TRACES
    lines = [_FIELDS, *_flows(named, end - timedelta(days=1), random.Random(seed))]
    write_whole(flow_log, "\n".join(lines) + "\n")
    write_whole(traces, json.dumps({"resourceSpans": list(_spans(named, end))}, indent=1))
    return flow_log, traces


def _flows(named: dict[str, Seeded], start: datetime, dice: random.Random) -> Iterator[str]:
    """Yield one record an hour, pair and direction (AWS "Flow log records", version 2)."""
    for hour in range(24):
        begin = int((start + timedelta(hours=hour)).timestamp())
        for pair in PAIRS:
            caller, callee = named[pair.caller], named[pair.callee]
            if not caller.address or not callee.address:
                continue
            ephemeral = dice.randrange(32_768, 60_999)
            for here, there, ports, gigabytes in (
                (caller, callee, (ephemeral, pair.port), pair.sent_gb),
                (callee, caller, (pair.port, ephemeral), pair.received_gb),
            ):
                size = int(gigabytes / 24 * _GB * dice.uniform(0.8, 1.2))
                interface = "eni-" + hashlib.sha256(here.id.encode()).hexdigest()[:17]
                yield (
                    f"2 {ACCOUNT} {interface} {here.address} {there.address} {ports[0]} "
                    f"{ports[1]} 6 {max(1, size // 1400)} {size} {begin} {begin + 3600} ACCEPT OK"
                )


def _spans(named: dict[str, Seeded], end: datetime) -> Iterator[dict[str, object]]:
    """Yield one client span a call (OTLP/JSON, opentelemetry-proto 1.x)."""
    for number, (caller, callee, database) in enumerate(CALLS):
        here, there = named[caller], named[callee]
        start = end - timedelta(minutes=5 + number)
        attributes = {"server.address": there.address or there.name}
        if database:
            attributes |= {"db.system.name": "postgresql", "db.namespace": database}
        digest = hashlib.sha256(f"{caller} {callee}".encode()).hexdigest()
        nanos = int(start.timestamp()) * 10**9
        yield {
            "resource": {"attributes": _attributes({"service.name": here.name})},
            "scopeSpans": [
                {
                    "scope": {"name": "qafila.demo"},
                    "spans": [
                        {
                            "traceId": digest[:32],
                            "spanId": digest[32:48],
                            "name": f"call {callee}",
                            "kind": 3,
                            "startTimeUnixNano": str(nanos),
                            "endTimeUnixNano": str(nanos + 12_000_000),
                            "attributes": _attributes(attributes),
                        }
                    ],
                }
            ],
        }


def _attributes(given: dict[str, str]) -> list[dict[str, object]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in given.items()]
