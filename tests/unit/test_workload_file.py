"""A workload file with mistakes: every one at once, each with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from qafila.errors import BadInput
from qafila.workload.model import Workload
from qafila.workload_file import read_file

FILE = Path(__file__).parents[2] / "workloads" / "aws-docs-search.yaml"


def refused(tmp_path: Path, text: str) -> tuple[str, ...]:
    file = tmp_path / "w.yaml"
    file.write_text(text)
    with pytest.raises(BadInput) as error:
        read_file(file)
    return error.value.problems


def test_the_example_is_read_with_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAFILA_VAR_DEMO_BASELINE_URL", "http://127.0.0.1:9")
    workload = read_file(FILE)
    assert workload.service.baseline.url == "http://127.0.0.1:9"
    assert workload.service.candidate.url == "http://127.0.0.1:18082"


def test_three_mistakes_are_three_sentences_with_their_lines(tmp_path: Path) -> None:
    text = (
        FILE.read_text()
        .replace("criticality: low ", "criticality: lo ")
        .replace("  approve_above: 25", "  approve_over: 25")
        .replace("owner: search@example.org\n", "")
    )
    line = {
        part: next(n for n, row in enumerate(text.splitlines(), 1) if part in row)
        for part in ("criticality: lo ", "approve_over")
    }
    problems = refused(tmp_path, text)
    assert len(problems) == 3
    assert any(p.startswith(f"line {line['criticality: lo ']}: criticality: ") for p in problems)
    unknown = f"line {line['approve_over']}: rollout.approve_over is not a field"
    assert any(p.startswith(unknown) for p in problems)
    assert any("owner is missing" in p for p in problems)


@pytest.mark.parametrize("name", ["QAFILA_SECRET_DEMO_TARGET", "AWS_SECRET_ACCESS_KEY", "HOME"])
def test_a_variable_that_is_not_for_workload_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "correct-horse-battery")
    for written in (name, f"{name}:-none"):
        text = FILE.read_text().replace("owner: search@", f"owner: ${{{written}}}@")
        (problem,) = refused(tmp_path, text)
        assert name in problem
        assert f"QAFILA_VAR_{name}" in problem
        assert "correct-horse-battery" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter22@127.0.0.1:18081",
        "http://sk-token@127.0.0.1:18081",
        "http://127.0.0.1:18081/v1?api_key=hunter22",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    text = FILE.read_text().replace("${QAFILA_VAR_DEMO_BASELINE_URL:-http://127.0.0.1:18081}", url)
    (problem,) = refused(tmp_path, text)
    assert "service.baseline.url" in problem
    assert "hunter22" not in problem
    assert "sk-token" not in problem


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("dimensions: 256", "dimensions: 255"), "corpus.embedder.dimensions"),
        (("weights: [1, 5, 25, 50, 100]", "weights: [5, 1, 100]"), "weights must rise"),
        (("kind: pgvector", "kind: faiss"), "corpus.target"),
        (("table: operation", "table: drop table x"), "corpus.source.table"),
        (
            ("${QAFILA_VAR_DEMO_BASELINE_URL:-http://127.0.0.1:18081}", "${QAFILA_VAR_NOWHERE}"),
            "the variable QAFILA_VAR_NOWHERE is not set",
        ),
    ],
)
def test_one_mistake_is_named(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    problems = refused(tmp_path, FILE.read_text().replace(*change))
    assert any(expected in p for p in problems), problems


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("  approve_above: 25", "  approve_over: 25"),
            "rollout.approve_over is not a field (did you mean approve_above?).",
        ),
        (("index: hnsw", "indx: hnsw"), "corpus.target.indx is not a field (did you mean index?)."),
        (
            (
                "kind: envoy-file",
                "kind: envoy-file, membrs: []",
            ),  # the chosen kind is not in the file
            "service.router.membrs is not a field (did you mean members?).",
        ),
        (
            ("table: known_item_query", "table: known_item_query, tabel: x"),
            "queries.judged.tabel is not a field (did you mean table?).",
        ),
        (
            ("error_rate: {at_most: 0.001}", "error_rate: {at_most: 0.001, zzz: 1}"),
            "objectives.error_rate.zzz is not a field (known here: at_most).",
        ),
        (
            ("budget: {", "budget: {zzz: 1, "),
            "budget.zzz is not a field (known here: currency, spend_cap, monthly",
        ),
        (
            ("  drill_weight: 1", "  freezes: [{form: 2026-12-24T00:00:00Z}]"),
            "rollout.freezes.0.form is not a field (did you mean from?).",
        ),
        (("approve_above: 25", "approve_above: x"), "rollout.approve_above: input should be"),
    ],
)
def test_an_unknown_field_is_named_with_its_place_and_what_is_known_there(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    text = FILE.read_text().replace(*change)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if change[1] in row)
    problems = refused(tmp_path, text)
    assert any(p.startswith(f"line {line}: {expected}") for p in problems), problems


def test_a_field_unknown_at_the_top_gets_every_name_of_a_workload(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "zzz: 3\n" + FILE.read_text())
    for name in Workload.model_fields:
        assert name in problem


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [\n", "name: *x\n"])
def test_what_is_no_workload_is_refused(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_file(tmp_path / "none.yaml")
