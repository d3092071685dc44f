"""An answer of the published shape that is not whole is an outcome, and never an error."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from qafila.audit.collectors import COLLECTORS, Account, Collector, Limits
from qafila.audit.collectors.pace import Pacing
from qafila.audit.estate import Outcome
from tests.support.aws import session_with
from tests.support.aws_reading import REGION

_MORE = ("nexttoken", "marker", "nextmarker", "position", "istruncated")
_IDENTITY = ("arn", "id", "name", "identifier")
_PLAIN: dict[str, Any] = {
    "integer": 3,
    "long": 3,
    "float": 1.5,
    "double": 1.5,
    "boolean": True,
    "blob": b"",
    "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
}


def made_up(shape: Any, chance: random.Random, depth: int = 0) -> Any:
    """Return a value of the shape in which what is not required may be missing."""
    match shape.type_name:
        case "structure":
            return {
                name: made_up(member, chance, depth + 1)
                for name, member in shape.members.items()
                if depth < 6
                and name.lower() not in _MORE
                and (
                    name in shape.required_members
                    or name.lower().endswith(_IDENTITY)
                    or chance.random() < 0.6
                )
            }
        case "list":
            return [made_up(shape.member, chance, depth + 1)] if depth < 7 else []
        case "map":
            return {"k": made_up(shape.value, chance, depth + 1)}
        case "string":
            return "7"  # a number where a number is spelled as text
        case other:
            return _PLAIN.get(other)


class _Answered:
    status_code, raw = 200, None
    headers: dict[str, str] = {}  # noqa: RUF012


@pytest.mark.parametrize("collector", COLLECTORS, ids=lambda c: c.name)
def test_an_answer_that_is_not_whole_never_raises(collector: Collector) -> None:
    session = session_with("k", "s", REGION)
    chance = random.Random(collector.name)
    seen = set()

    def answer(model: Any, **_: Any) -> tuple[_Answered, dict[str, Any]]:
        said = made_up(model.output_shape, chance)
        if model.name == "GetMetricData":
            said = {"MetricDataResults": []}
        return _Answered(), said | {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}

    session.events.register("before-call", answer)
    for _ in range(4):
        look = Account(
            session,
            REGION,
            endpoint_url="http://127.0.0.1:1",
            limits=Limits(attempts=1, pages=2),
            pacing=Pacing(sleep=lambda _: None),
        )
        seen.add(collector.collect(look).outcome)
    assert seen <= {Outcome.COMPLETE, Outcome.UNSUPPORTED, Outcome.TRUNCATED}
