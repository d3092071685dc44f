"""What an Envoy is not told to route to: itself, metadata services, loopback unless allowed."""

from __future__ import annotations

import pytest

from blocks import EnvoyEdge
from qafila.errors import BadInput
from qafila.routers.envoy.arms import Arm
from qafila.routers.envoy.upstream_addresses import require_upstreams

EDGE = {
    "admin_url": "http://127.0.0.1:9901",
    "listen_url": "http://192.0.2.5:8080",
    "allowed_loopback": ["any"],
}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9901", "own admin"),
        ("http://localhost:9901", "own admin"),
        ("http://127.0.0.2:9901", "own admin"),
        ("http://[::1]:9901", "own admin"),
        ("http://[::ffff:127.0.0.1]:9901", "own admin"),
        ("http://2130706433:9901", "own admin"),
        ("http://0177.0.0.1:9901", "own admin"),
        ("http://192.0.2.5:8080", "own admin or user address"),
        ("http://169.254.169.254", "metadata"),
        ("http://169.254.170.2:80", "metadata"),
        ("http://[::ffff:169.254.169.254]", "metadata"),
        ("http://2852039166", "metadata"),
        ("http://[fe80::1]:80", "link-local"),
        ("http://[fd00:ec2::254]", "metadata"),
        ("http://0.0.0.0:9901", "unspecified"),
        ("http://[::]:9901", "unspecified"),
        ("http://224.0.0.1:80", "multicast"),
        ("http://[ff02::1]:80", "multicast"),
    ],
)
def test_an_address_that_is_no_service_is_refused(url: str, says: str) -> None:
    good = Arm("http://192.0.2.7:80")
    for arms in ({"baseline": good, "candidate": Arm(url)}, {"baseline": Arm(url)}):
        with pytest.raises(BadInput) as refusal:
            require_upstreams(arms, {"edge-1": {"allowed_loopback": ["any"]}, "edge-2": EDGE})
        (problem,) = refusal.value.problems
        assert says in problem
        assert url in problem
        assert "qafila apply" in refusal.value.remedy


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9902",
        "http://192.0.2.5:80",
        "https://[2001:db8::7]:8443/v1",
        "http://name-that-nobody-knows.invalid:80",
    ],
)
def test_any_other_address_is_let_through(url: str) -> None:
    require_upstreams({"baseline": Arm(url), "candidate": Arm(url)}, {"edge-1": EDGE})


def test_every_problem_is_named_at_once() -> None:
    arms = {"baseline": Arm("http://127.0.0.1:9901"), "candidate": Arm("http://[fe80::1]:1")}
    with pytest.raises(BadInput) as refusal:
        require_upstreams(arms, {"edge-1": EDGE})
    assert len(refusal.value.problems) == 2


@pytest.mark.parametrize(
    ("url", "allowed", "passes"),
    [
        ("http://127.0.0.1:8001", None, False),  # a connection recorded before there was the field
        ("http://127.0.0.1:8001", [], False),
        ("http://localhost:8001", [], False),
        ("http://127.8.8.8:8001", [], False),
        ("http://[::1]:8001", [], False),
        ("http://[::ffff:127.0.0.1]:8001", [], False),
        ("http://2130706433:8001", [], False),
        ("http://127.0.0.1:8001", ["8002"], False),
        ("http://127.0.0.1:8001", ["8001"], True),
        ("http://127.0.0.1", ["80"], True),
        ("https://127.0.0.1", ["80"], False),
        ("http://[::1]:8001", ["7000", "8000-8010"], True),
        ("http://127.0.0.1:8011", ["8000-8010"], False),
        ("http://127.0.0.1:8001", ["any"], True),
        ("http://192.0.2.7:8001", [], True),
    ],
)
def test_loopback_is_refused_unless_the_edge_allows_the_port(
    url: str, allowed: list[str] | None, passes: bool
) -> None:
    edge = {"listen_url": "http://192.0.2.5:8080"}
    settings = edge if allowed is None else edge | {"allowed_loopback": allowed}
    arms = {"baseline": Arm("http://192.0.2.7:80"), "candidate": Arm(url)}
    if passes:
        require_upstreams(arms, {"edge-1": settings})
        return
    with pytest.raises(BadInput) as refusal:
        require_upstreams(arms, {"edge-1": settings})
    (problem,) = refusal.value.problems
    assert f"service.candidate.url: {url!r} leads to" in problem
    assert "edge-1 does not allow users there" in problem
    assert str(arms["candidate"].port) in refusal.value.remedy
    assert "allowed_loopback of the block qafila-envoy/edge-1" in refusal.value.remedy
    assert "workload file" not in refusal.value.remedy


def test_each_member_of_a_fleet_has_to_allow_it() -> None:
    arms = {"baseline": Arm("http://127.0.0.1:8001"), "candidate": Arm("http://127.0.0.1:8002")}
    fleet = {
        "edge-1": {"allowed_loopback": ["8001-8002"]},
        "edge-2": {"allowed_loopback": ["8001"]},
    }
    with pytest.raises(BadInput) as refusal:
        require_upstreams(arms, fleet)
    (problem,) = refusal.value.problems
    assert "edge-2 does not allow" in problem
    assert "add 8002 to" in refusal.value.remedy


@pytest.mark.parametrize(
    "entry", ["", "all", "0", "65536", "8010-8001", "8001-", "-1", "1-2-3", "８０"]
)
def test_an_allowance_that_is_no_port_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="allowed_loopback"):
        EnvoyEdge(directory="/d", admin_url="u", listen_url="u", allowed_loopback=[entry])
