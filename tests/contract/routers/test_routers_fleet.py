"""A fleet in parts: down reaches all that can be reached, up leaves nothing half done."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qafila.errors import BadInput, Disagreement, StaleEpoch, Unavailable
from qafila.routers.envoy import files as envoy_files
from qafila.routers.envoy.fleet import FleetRouter
from qafila.routers.envoy.router import EnvoyRouter
from qafila.routers.highest_weight import read_highest_weight
from tests.support.edges import running_fleet

NOBODY = "http://127.0.0.1:9"  # no Envoy answers there


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetRouter]:
    """Three members by their files alone: no Envoy runs."""
    members = [
        EnvoyRouter(name, directory=str(tmp_path / name), admin_url=NOBODY, listen_url=NOBODY)
        for name in ("east", "middle", "west")
    ]
    router = FleetRouter("edges", members)
    router.install("http://127.0.0.1:8001", "http://127.0.0.1:8002")
    yield router
    router.close()


def weights(fleet: FleetRouter) -> list[int | None]:
    found: list[int | None] = []
    for member in fleet.members:
        try:
            found.append(member.read().candidate_percent)
        except Unavailable:
            found.append(None)
    return found


def lose(member: EnvoyRouter) -> None:
    shutil.rmtree(member.directory)


def test_up_stops_at_the_first_failure_and_is_taken_back(fleet: FleetRouter) -> None:
    fleet.write(5, epoch=1, why="up")
    lose(fleet.members[1])
    with pytest.raises(Unavailable, match="middle") as failure:
        fleet.write(25, epoch=1, why="up")
    assert weights(fleet) == [5, None, 5]
    assert "as they were" in failure.value.kept


def test_down_reaches_every_member_that_can_be_written(fleet: FleetRouter) -> None:
    fleet.write(50, epoch=1, why="up")
    lose(fleet.members[0])
    with pytest.raises(Unavailable, match="east") as failure:
        fleet.write(0, epoch=2, why="abort")
    assert weights(fleet) == [None, 0, 0]
    assert "the other 2 were written" in failure.value.kept


def test_a_member_that_hangs_does_not_hold_up_the_others_way_down(
    fleet: FleetRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.write(50, epoch=1, why="up")
    monkeypatch.setattr(envoy_files, "_LOCK_S", 3.0)
    with (fleet.members[0].directory / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(fleet.write, 0, epoch=2, why="abort")
            while weights(fleet)[1:] != [0, 0]:
                assert not writing.done()  # east still waits when the others are down
            with pytest.raises(Unavailable, match="east"):
                writing.result()
    assert weights(fleet) == [50, 0, 0]


def test_members_that_differ_are_named_and_a_write_makes_them_agree(fleet: FleetRouter) -> None:
    fleet.write(5, epoch=1, why="up")
    fleet.members[2].write(50, epoch=3, why="somebody else")
    with pytest.raises(Disagreement) as both:
        fleet.read()
    assert both.value.said["west"].startswith("50 % on the candidate, epoch 3")
    assert both.value.said["east"].startswith("5 % on the candidate, epoch 1")
    fleet.write(0, epoch=4, why="abort")
    assert (fleet.read().candidate_percent, fleet.read().epoch) == (0, 4)


def test_a_member_that_cannot_be_read_is_named_beside_the_others(fleet: FleetRouter) -> None:
    fleet.write(5, epoch=1, why="up")
    lose(fleet.members[1])
    with pytest.raises(Disagreement) as all_three:
        fleet.read()
    assert list(all_three.value.said) == ["east", "middle", "west"]
    assert all_three.value.said["middle"].startswith("cannot be read: ")
    assert read_highest_weight(fleet).candidate_percent == 5  # what a rollback starts from


def test_an_epoch_that_is_old_for_one_member_writes_none(fleet: FleetRouter) -> None:
    fleet.members[1].write(0, epoch=7, why="somebody else")
    with pytest.raises(StaleEpoch, match="middle"):
        fleet.write(25, epoch=6, why="up")
    assert weights(fleet) == [0, 0, 0]
    assert fleet.members[0].read().epoch == 0


def test_a_member_that_joins_takes_the_epoch_of_the_others(
    fleet: FleetRouter, tmp_path: Path
) -> None:
    fleet.write(0, epoch=9, why="down")
    new = EnvoyRouter("new", directory=str(tmp_path / "new"), admin_url=NOBODY, listen_url=NOBODY)
    larger = FleetRouter("edges", [*fleet.members, new])
    larger.install("http://127.0.0.1:8001", "http://127.0.0.1:8002")
    assert (larger.read().epoch, new.read().epoch) == (9, 9)
    new.close()


def test_members_that_do_not_acknowledge_are_named(fleet: FleetRouter) -> None:
    version = fleet.write(0, epoch=1, why="down")
    with pytest.raises(Unavailable, match="3 of 3 members") as late:
        fleet.acknowledged(version, timeout_s=0.1)
    assert all(f"{member.name}: " in late.value.what for member in fleet.members)
    assert fleet.reported() is None
    assert fleet.software_version() is None


def test_a_version_of_another_fleet_is_never_acknowledged(fleet: FleetRouter) -> None:
    with pytest.raises(Unavailable):
        fleet.acknowledged("e1/1/0pct", timeout_s=0.1)


def test_a_fleet_has_members() -> None:
    with pytest.raises(BadInput):
        FleetRouter("edges", [])


def test_a_cursor_of_a_smaller_fleet_starts_from_now(fleet: FleetRouter) -> None:
    _, smaller = FleetRouter("edges", fleet.members[:1]).observed(None)
    for member in fleet.members:
        (member.directory / "access.jsonl").write_text(
            '{"ts": 1, "arm": "baseline", "code": 200, "ms": 1}\n'
        )
    assert fleet.observed(smaller)[0] == []
    seen, _ = fleet.observed(1 << (128 * 3))
    assert len(seen) == 3


def test_one_envoy_of_two_is_down(tmp_path: Path) -> None:
    with running_fleet(tmp_path) as edges:
        fleet = FleetRouter("edges", [edge.router for edge in edges])
        fleet.install(edges[0].baseline.url, edges[0].candidate.url)
        fleet.acknowledged(fleet.write(25, epoch=1, why="up"))
        edges[1].process.kill()
        edges[1].process.wait()
        version = fleet.write(0, epoch=2, why="abort")
        with pytest.raises(Unavailable, match=r"1 of 2 members.*edge-2"):
            fleet.acknowledged(version, timeout_s=0.5)
        first = edges[0].router.reported()
        assert first is not None
        assert first.candidate_percent == 0
        edges[1].restart()  # it comes back with the weights of its file
        assert fleet.acknowledged(version) < 5
        assert fleet.reported() == fleet.read()
