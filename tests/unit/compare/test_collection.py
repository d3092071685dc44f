"""A folder with a judged collection is checked as a whole before it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from qafila.compare.collection import read_collection
from qafila.errors import BadInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, docs='{"id": "a", "title": "A", "text": "one"}\n{"id": 2, "text": "two"}\n')
    return tmp_path


def write(
    folder: Path,
    docs: str | None = None,
    queries: str = '{"id": "q1", "text": "which?"}\n\n{"id": "q2", "text": "what?"}\n',
    qrels: str = "query\tdoc\tgrade\nq1\ta\t2\nq1\t2\t0\n",
) -> None:
    if docs is not None:
        (folder / "docs.jsonl").write_text(docs)
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels.tsv").write_text(qrels)


def problems(folder: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read_collection(folder)
    return "\n".join(caught.value.problems)


def test_a_folder_is_read(folder: Path) -> None:
    found = read_collection(folder)
    assert [(d.key, d.whole) for d in found.documents] == [("a", "A\none"), ("2", "two")]
    assert [(q.query_id, q.grades) for q in found.queries] == [("q1", {"a": 2.0, "2": 0.0})]
    assert found.unjudged == ["q2"]
    assert found.name == folder.name


def test_the_line_of_names_is_optional(folder: Path) -> None:
    write(folder, qrels="q1\ta\t1\n")
    assert read_collection(folder).queries[0].grades == {"a": 1.0}


def test_a_document_without_text_is_named_and_kept_in_the_judgements(folder: Path) -> None:
    write(folder, docs='{"id": "a", "text": " "}\n{"id": "2", "text": "two"}\n')
    found = read_collection(folder)
    assert found.empty == ["a"]
    assert found.queries[0].grades["a"] == 2.0


def test_missing_files_are_named_together(tmp_path: Path) -> None:
    told = problems(tmp_path)
    assert all(f"{name} is not there" in told for name in ("docs.jsonl", "queries.jsonl"))


def test_every_problem_is_named_by_its_line(folder: Path) -> None:
    write(
        folder,
        docs='{"id": "a", "text": "one"}\n{"id": "a", "text": "again"}\n[]\n{"text": "no id"}\n'
        '{"id": "b"}\n{"id": "c", "text": "x\\u0000y"}\nnonsense\n',
        queries='{"id": "q1", "text": "which?"}\n{"id": "q1", "text": "twice?"}\n'
        '{"id": "q3", "text": ""}\n',
        qrels="query\tdoc\tgrade\nq1\ta\t-1\nq1\ta\tmany\nq9\ta\t1\nq1\tz\t1\nq1 a 1\n"
        "q1\ta\t1\nq1\ta\t1\nq1\ta\tnan\n",
    )
    told = problems(folder)
    for expected in (
        "docs.jsonl:2: id 'a' is there twice",
        "docs.jsonl:3: no JSON object",
        "docs.jsonl:4: needs id",
        "docs.jsonl:5: needs text",
        "docs.jsonl:6: text holds the character NUL",
        "docs.jsonl:7: no JSON",
        "queries.jsonl:2: id 'q1' is there twice",
        "queries.jsonl:3: query 'q3' has no text",
        "qrels.tsv:2: '-1' is no grade",
        "qrels.tsv:3: 'many' is no grade",
        "qrels.tsv:4: query 'q9' is not in queries.jsonl",
        "qrels.tsv:5: document 'z' is not in docs.jsonl",
        "qrels.tsv:6: needs query, doc and grade",
        "qrels.tsv:8: 'q1' and 'a' are judged twice",
        "qrels.tsv:9: 'nan' is no grade",
    ):
        assert expected in told


def test_bytes_that_are_no_text_are_a_problem_and_no_fault(folder: Path) -> None:
    (folder / "queries.jsonl").write_bytes(b'\xef\xbb\xbf{"id": "q1", "text": "a"}\n\xff\n')
    assert "queries.jsonl:2: not UTF-8" in problems(folder)


def test_nothing_that_is_relevant_cannot_be_judged_by(folder: Path) -> None:
    write(folder, qrels="q1\ta\t0\n")
    assert "grade over 0" in problems(folder)
