"""What an Envoy is never told to route to: itself, metadata services, no one's addresses."""

from __future__ import annotations

import pytest

from qafila.errors import BadInput
from tasks.routers.envoy_arms import Arm
from tasks.routers.upstream_addresses import require_upstreams

EDGE = {"admin_url": "http://127.0.0.1:9901", "listen_url": "http://192.0.2.5:8080"}


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
            require_upstreams(arms, [{}, EDGE])
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
    require_upstreams({"baseline": Arm(url), "candidate": Arm(url)}, [EDGE])


def test_every_problem_is_named_at_once() -> None:
    arms = {"baseline": Arm("http://127.0.0.1:9901"), "candidate": Arm("http://[fe80::1]:1")}
    with pytest.raises(BadInput) as refusal:
        require_upstreams(arms, [EDGE])
    assert len(refusal.value.problems) == 2
