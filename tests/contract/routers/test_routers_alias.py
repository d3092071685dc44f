"""Two providers behind one model's alias: each is asked in its own words, users see one service."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qafila.errors import BadInput
from qafila.routers.envoy.alias import BODY_LIMIT
from qafila.routers.envoy.arms import Arm, RouteSettings
from tests.contract.routers.router_suite import weigh
from tests.support.edges import Edge, running_edge
from tests.support.providers import Asked, Provider, encryption

SETTINGS = RouteSettings(alias="chat-default", idempotent_posts=True)


@dataclass
class Setup:
    edge: Edge
    old: Provider
    new: Provider
    arms: tuple[Arm, Arm]
    secret: Path

    def install(self) -> None:
        router = self.edge.router
        router.acknowledged(router.install(*self.arms, SETTINGS).version)

    def ask(self, body: str, path: str = "/v1/chat/completions", **headers: str) -> Asked:
        """Post a body as it stands; return what the provider that answered was asked."""
        for provider in (self.old, self.new):
            provider.asked.clear()
        reply = httpx.post(
            self.edge.listen_url + path,
            content=body.encode(),
            headers={"content-type": "application/json", **headers},
        )
        assert reply.status_code == 200
        return (self.old if reply.text == "old" else self.new).asked[-1]


def put_credential(file: Path, value: str) -> None:
    resource = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "credential",
        "generic_secret": {"secret": {"inline_string": value}},
    }
    whole = file.with_suffix(".new")
    whole.write_text(json.dumps({"resources": [resource]}))
    whole.rename(file)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("alias")
    context, authority = encryption(folder)
    old, new = Provider("old"), Provider("new", context)
    secret = folder / "new-provider.json"
    put_credential(secret, "Bearer of-the-new-one")
    with running_edge(folder / "edge") as edge:
        arms = (
            Arm(old.url, model="small-1"),
            Arm(
                new.url + "/openai/v1",
                model="vendor/big:2",
                credential_file=str(secret),
                ca_file=str(authority),
            ),
        )
        made = Setup(edge, old, new, arms, secret)
        made.install()
        yield made
    old.stop()
    new.stop()


@pytest.fixture
def candidate(setup: Setup) -> Setup:
    weigh(setup.edge.router, 100)
    return setup


def test_each_arm_is_asked_for_its_own_model(setup: Setup) -> None:
    weigh(setup.edge.router, 0)
    body = '{"model": "chat-default",  "n":1, "messages": [{"role":"user","content":"é \\u00e9"}]}'
    assert setup.ask(body).body.decode() == body.replace("chat-default", "small-1")
    weigh(setup.edge.router, 100)
    assert setup.ask(body).body.decode() == body.replace("chat-default", "vendor/big:2")


def test_each_arm_is_reached_by_its_own_path_host_and_credential(candidate: Setup) -> None:
    asked = candidate.ask('{"model":"chat-default"}', authorization="Bearer of-the-user")
    assert asked.path == "/openai/v1/chat/completions"
    assert asked.headers["host"] == f"127.0.0.1:{candidate.new.port}"
    assert asked.headers["authorization"] == "Bearer of-the-new-one"
    assert candidate.ask("{}", path="/v1x").path == "/v1x"
    weigh(candidate.edge.router, 0)
    asked = candidate.ask('{"model":"chat-default"}', authorization="Bearer of-the-user")
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer of-the-user"


def test_the_credential_is_in_no_file_of_ours(candidate: Setup) -> None:
    for file in candidate.edge.folder.glob("*.json*"):
        assert "of-the-new-one" not in file.read_text()


def test_a_credential_that_is_replaced_is_read_again(candidate: Setup) -> None:
    put_credential(candidate.secret, "Bearer of-tomorrow")
    try:
        end = time.monotonic() + 10
        sent = ""
        while sent != "Bearer of-tomorrow" and time.monotonic() < end:
            sent = candidate.ask('{"model":"chat-default"}').headers["authorization"]
        assert sent == "Bearer of-tomorrow"
    finally:
        put_credential(candidate.secret, "Bearer of-the-new-one")


@pytest.mark.parametrize(
    "body",
    [
        '{"model": "another"}',
        '{"messages": [{"model": "chat-default"}]}',
        '{"metadata": {"model": "chat-default"}, "n": 2}',
        '{"a": "\\"model\\": \\"chat-default\\""}',
        '{"a": "model", "b": "chat-default"}',
        '{"model": ["chat-default"]}',
        '["model", "chat-default"]',
        '{"model": "chat-default"',
        '{"model": "chat-default"} {}',
        '{"model": "chat-default"}]',
        '{"a": "} \\\\", "c": "model"}',
        "model: chat-default",
        '"model":"chat-default"',
        "",
        '{"model": "chat-default", "filler": "' + "x" * BODY_LIMIT + '"}',
    ],
    ids=lambda body: body[:40],
)
def test_everything_else_passes_byte_for_byte(candidate: Setup, body: str) -> None:
    assert candidate.ask(body).body.decode() == body


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ('{"n": {"a": [1, {"b": "]"}]}, "model" : "chat-default"}', 1),
        ('{"a": "\\\\", "model":"chat-default", "z": "\\"}{"}', 1),
        ('{"model":"chat-default","model":"chat-default"}', 2),
        ('\n {"model"\n:\n"chat-default"}\n', 1),
        ('{"model": "chat-default", "filler": "' + "x" * (BODY_LIMIT - 100) + '"}', 1),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_alias_is_found_wherever_json_may_have_it(
    candidate: Setup, body: str, places: int
) -> None:
    assert body.count("chat-default") == places
    assert candidate.ask(body).body.decode() == body.replace("chat-default", "vendor/big:2")


words = st.sampled_from(["model", "chat-default", "", '"', "\\", "}{", "é", "\n"]) | st.text(
    max_size=5
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    members=st.dictionaries(words, values, max_size=4),
    model=st.none() | st.just("chat-default") | values,
    ascii_only=st.booleans(),
    indent=st.none() | st.just(2),
)
@example(members={"model": None, "chat-default": None}, model=None, ascii_only=True, indent=None)
def test_only_the_value_of_the_top_level_model_ever_changes(
    candidate: Setup,
    members: dict[str, object],
    model: object,
    ascii_only: bool,
    indent: int | None,
) -> None:
    asked = members | {"model": model}
    body = json.dumps(asked, ensure_ascii=ascii_only, indent=indent)
    sent = candidate.ask(body).body.decode()
    if model == "chat-default":
        expected = asked | {"model": "vendor/big:2"}
        assert sent == json.dumps(expected, ensure_ascii=ascii_only, indent=indent)
    else:
        assert sent == body


def test_a_body_of_another_kind_passes(candidate: Setup) -> None:
    body = '{"model": "chat-default"}'
    assert candidate.ask(body, **{"content-type": "text/plain"}).body.decode() == body


def test_the_baseline_that_answers_for_a_failing_candidate_is_asked_for_its_own(
    candidate: Setup,
) -> None:
    candidate.new.status = 503
    try:
        asked = candidate.ask('{"model":"chat-default"}')
    finally:
        candidate.new.status = 200
    assert candidate.new.asked[-1].body == b'{"model":"vendor/big:2"}'
    assert (asked.path, asked.body) == ("/v1/chat/completions", b'{"model":"small-1"}')


def test_an_answer_streams_while_it_is_written(candidate: Setup) -> None:
    candidate.new.hold.clear()
    with httpx.stream(
        "POST", candidate.edge.listen_url + "/v1/stream", json={"model": "chat-default"}, timeout=10
    ) as reply:
        parts = reply.iter_bytes()
        assert next(parts) == b"data: first\n\n"  # the provider holds the rest back
        candidate.new.hold.set()
        assert b"".join(parts) == b"data: [DONE]\n\n"
    assert candidate.new.asked[-1].body == b'{"model":"vendor/big:2"}'


def test_an_authority_that_does_not_vouch_is_not_believed(candidate: Setup) -> None:
    """Without the file of its authority the candidate cannot be reached; users get the baseline."""
    router, stranger = candidate.edge.router, replace(candidate.arms[1], ca_file=None)
    try:
        state = router.install(candidate.arms[0], stranger, SETTINGS)
        router.acknowledged(state.version)
        weigh(router, 100)
        assert candidate.ask('{"model":"chat-default"}').body == b'{"model":"small-1"}'
    finally:
        candidate.install()


@pytest.mark.parametrize(
    ("arm", "wanted", "problem"),
    [
        (Arm("http://a:1", model="m"), RouteSettings(), "service.alias is not set"),
        (Arm("http://a:1/v1"), RouteSettings(), "has a path"),
        (Arm("http://a:1", model='m"'), SETTINGS, "no model name"),
        (Arm("http://a:1", model="m\n"), SETTINGS, "no model name"),
        (Arm("http://a:1", ca_file="/ca.pem"), SETTINGS, "is not https"),
        (Arm("http://a:1", credential_file="key.json"), SETTINGS, "no absolute path"),
        (Arm("http://a:1", credential_file="/etc/../k.json"), SETTINGS, "no absolute path"),
        (Arm("http://a:1", credential_file="//etc/k.json"), SETTINGS, "no absolute path"),
        (Arm("http://a:1", credential_file="/proc/self/cwd/k"), SETTINGS, "no absolute path"),
        (Arm("http://user:word@a:1"), SETTINGS, "more than scheme"),
        (Arm("http://a:99999"), SETTINGS, "no port"),
        (Arm("http://a:1"), replace(SETTINGS, alias="a\\"), "no model name"),
        (Arm("http://a:1"), replace(SETTINGS, per_try_s=0.0), "per_try_timeout_s"),
        (Arm("http://a:1"), replace(SETTINGS, per_try_s=9.0, whole_s=1.0), "per_try_timeout_s"),
    ],
)
def test_what_cannot_be_routed_is_refused_before_anything_is_written(
    setup: Setup, arm: Arm, wanted: RouteSettings, problem: str
) -> None:
    before = {path: path.read_bytes() for path in _files(setup.edge.folder)}
    with pytest.raises(BadInput) as refusal:
        setup.edge.router.install(Arm("http://127.0.0.1:1"), arm, wanted)
    assert any(problem in found for found in refusal.value.problems)
    assert {path: path.read_bytes() for path in _files(setup.edge.folder)} == before


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in ("cds.json", "lds.json", "rds.json")]
