"""How a workload file names clusters and servers of metrics: short, long, and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qafila.errors import BadInput
from qafila.workload.model import AuditSources, Workload
from qafila.workload_file import read_file

FILE = Path(__file__).parents[3] / "workloads" / "aws-docs-search.yaml"
SHORT = {"kubernetes": ["staging"], "prometheus": ["http://prometheus.monitoring:9090"]}
LONG = {
    "kubernetes": ["staging", {"block": "shop", "namespaces": ["shop", "billing"]}],
    "prometheus": [{"url": "https://metrics.example.org/prometheus", "header_file": "header"}],
}


@pytest.mark.parametrize("given_", [SHORT, LONG])
def test_what_was_written_is_kept_as_it_was_written(given_: dict[str, Any]) -> None:
    sources = AuditSources.model_validate(given_)
    kept = sources.model_dump(mode="json", exclude_unset=True)
    assert kept == given_
    assert AuditSources.model_validate(sources.model_dump(mode="json")) == sources


def test_the_short_form_says_all_of_it() -> None:
    sources = AuditSources.model_validate(SHORT)
    assert (sources.kubernetes[0].block, sources.kubernetes[0].namespaces) == ("staging", ())
    assert sources.prometheus[0].header_file is None
    assert sources == AuditSources.model_validate(
        {"kubernetes": [{"block": "staging"}], "prometheus": [{"url": SHORT["prometheus"][0]}]}
    )


def of_file(tmp_path: Path, **audit: Any) -> Workload:
    content = yaml.safe_load(FILE.read_text())
    path = tmp_path / "workload.yaml"
    path.write_text(yaml.safe_dump({**content, "audit": audit}))
    return read_file(path)


def test_everything_wrong_is_said_at_once_and_no_secret_is_repeated(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        of_file(
            tmp_path,
            kubernetes=["Not A Name", {"block": "shop", "namespaces": ["Shop"]}, {"name": "x"}, 7],
            prometheus=[
                "ftp://h",
                "http://u:s3cret@h:1",
                "http://h/?token=s3cret",
                {"url": "http://h", "header": "s3cret"},
                "http://h:0",
                "http://[h",
            ],
        )
    problems = refused.value.problems
    for told in (
        "audit.kubernetes.0.block",
        "audit.kubernetes.1.namespaces.0",
        "audit.kubernetes.2.block",
        "audit.kubernetes.2.name",
        "block with namespaces",
        "audit.prometheus.0",
        "header_file",
        "audit.prometheus.3.header",
        "audit.prometheus.4",
        "audit.prometheus.5",
    ):
        assert any(told in problem for problem in problems), told
    assert "s3cret" not in str(refused.value)


def test_one_name_with_two_meanings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        of_file(
            tmp_path,
            kubernetes=["shop", {"block": "shop", "namespaces": ["shop"]}, "other", "other"],
            prometheus=["http://h", {"url": "http://h/", "header_file": "f"}],
        )
    assert [p.split(": ", 2)[2] for p in refused.value.problems] == [
        "named twice, with different namespaces: shop.",
        "named twice, with different headers: http://h.",
    ]


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_user_or_password_in_an_address_is_never_kept(user: str, password: str) -> None:
    with pytest.raises(ValueError, match="prometheus"):
        AuditSources.model_validate({"prometheus": [f"http://{user}:{password}@h.example.org"]})
