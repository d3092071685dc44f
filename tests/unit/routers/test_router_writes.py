"""Whatever is written in whatever order: the epoch never falls, and the last write is read."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from qafila.errors import BadInput, StaleEpoch, Unavailable
from qafila.routers.envoy import files as envoy_files
from qafila.routers.envoy.arms import Arm, RouteSettings, arms_of
from qafila.routers.envoy.config import parse_version, version_text
from qafila.routers.envoy.fleet import FleetRouter
from qafila.routers.envoy.router import EnvoyRouter
from qafila.routers.memory import MemoryRouter
from qafila.routers.port import Router
from qafila.workload.model import Service

percents = st.integers(-5, 105)
writes = st.lists(
    st.tuples(percents, st.sampled_from(["candidate", "twin", "mirror"]), st.integers(0, 6)),
    max_size=12,
)


@contextmanager
def made(kind: str) -> Iterator[Router]:
    """Return a router that needs no process: the fake, or Envoys by their files alone."""
    if kind == "memory":
        yield MemoryRouter()
        return
    with tempfile.TemporaryDirectory() as folder:
        members = [
            EnvoyRouter(
                f"e{n}",
                directory=f"{folder}/{n}",
                admin_url="http://127.0.0.1:9",
                listen_url="http://127.0.0.1:9",
            )
            for n in range(2)
        ]
        router = members[0] if kind == "envoy" else FleetRouter("edges", members)
        router.install("http://127.0.0.1:8001", "http://127.0.0.1:8002")
        yield router
        for member in members:
            member.close()


@pytest.mark.parametrize("kind", ["memory", "envoy", "fleet"])
@settings(max_examples=25, deadline=None)  # each write is on the disk before it returns
@given(asked=writes)
def test_the_epoch_never_falls_and_the_last_accepted_write_is_what_is_read(
    kind: str, asked: list[tuple[int, str, int]]
) -> None:
    with made(kind) as router:
        expected = router.read()
        for percent, share, epoch in asked:
            shares = {"candidate": 0, "twin": 0, "mirror": 0, share: percent}
            try:
                version = router.write(
                    shares["candidate"],
                    epoch=epoch,
                    why="test",
                    twin_percent=shares["twin"],
                    mirror_percent=shares["mirror"],
                )
            except BadInput:
                assert not 0 <= percent <= 100
            except StaleEpoch:
                assert epoch < expected.epoch
            else:
                assert epoch >= expected.epoch
                assert version != expected.version
                expected = router.read()
                assert expected.version == version
                assert (
                    expected.candidate_percent,
                    expected.twin_percent,
                    expected.mirror_percent,
                    expected.epoch,
                ) == (shares["candidate"], shares["twin"], shares["mirror"], epoch)
            assert router.read() == expected  # a refused write changed nothing


@given(
    epoch=st.integers(0, 10**9),
    sequence=st.integers(0, 10**9),
    shares=st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100)),
)
def test_a_version_says_its_weights(
    epoch: int, sequence: int, shares: tuple[int, int, int]
) -> None:
    text = version_text(epoch, sequence, *shares)
    state, number = parse_version(text)
    assert (state.epoch, number, state.version) == (epoch, sequence, text)
    assert (state.candidate_percent, state.twin_percent, state.mirror_percent) == shares


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, RouteSettings(per_try_s=5, whole_s=120)),
        ({"alias": "chat"}, RouteSettings(per_try_s=60, whole_s=120, alias="chat")),
        ({"alias": "chat", "answer_timeout_s": 30}, RouteSettings(30, 30, alias="chat")),
        ({"per_try_timeout_s": 2}, RouteSettings(2, 120)),
        ({"idempotent_posts": True}, RouteSettings(5, 120, idempotent_posts=True)),
    ],
)
def test_a_workload_file_says_how_long_an_arm_is_waited_for(
    said: dict[str, object], expected: RouteSettings
) -> None:
    baseline, candidate, found = arms_of(service(said))
    assert found == expected
    assert (baseline, candidate) == (Arm("http://127.0.0.1:1"), Arm("http://127.0.0.1:2"))
    assert RouteSettings.restored(found.stored()) == found


def test_settings_of_another_version_are_read_as_far_as_they_are_known() -> None:
    assert RouteSettings.restored(None) == RouteSettings()
    assert RouteSettings.restored({"per_try_s": 2, "later": 1}) == RouteSettings(per_try_s=2)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"baseline": {"url": "http://127.0.0.1:1", "model": "m"}}, "service.alias is needed"),
        ({"per_try_timeout_s": 9, "answer_timeout_s": 3}, "longer than"),
        ({"alias": "two words"}, "should match"),
        ({"alias": "line\n"}, "should match"),
    ],
)
def test_what_does_not_fit_is_refused(said: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        service(said)


def service(said: dict[str, object]) -> Service:
    arms = {"baseline": {"url": "http://127.0.0.1:1"}, "candidate": {"url": "http://127.0.0.1:2"}}
    return Service.model_validate(
        {**arms, "router": {"kind": "envoy-file", "block": "edge-1"}, **said}
    )


def test_a_writer_that_does_not_leave_is_named_and_not_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy_files, "_LOCK_S", 0.05)
    router = EnvoyRouter(
        "e", directory=str(tmp_path), admin_url="http://127.0.0.1:9", listen_url=""
    )
    router.install("http://127.0.0.1:8001", "http://127.0.0.1:8002")
    before = router.read()
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="another process holds"):
            router.write(50, epoch=1, why="test")
        assert router.read() == before
    router.write(50, epoch=1, why="test")  # a writer that died holds nothing
    assert router.read().candidate_percent == 50
    router.close()
