"""A rollout's bundle from a real ledger: what is in it, that it proves itself, that it hides."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from qafila.cli import app
from qafila.errors import BadInput, Refused
from qafila.ledger import approvals
from qafila.ledger.approvals import Question
from qafila.ledger.evidence import record_evidence
from qafila.report.bundle import write_bundle
from qafila.report.bundle_check import check_bundle
from qafila.report.rollout_reader import collect_rollout, rollouts_of
from qafila.sql import statement
from qafila.workload.verdict import Verdict
from tests.support.applied import apply_demo

NAME = "aws-docs-search"
FIRST, SECOND = f"{NAME}-g1-e3", f"{NAME}-g1-e8"
PASSWORD = "correct-horse-battery"
FILES = [
    "MANIFEST.json",
    "approvals.json",
    "certificate.json",
    "evidence.jsonl",
    "looks.parquet",
    "rollout.html",
]


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger_url: str) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)


def note(ledger: psycopg.Connection[Any], kind: str, verdict: Verdict, **body: Any) -> int:
    says = body.pop("says", f"{kind} is {verdict}.")
    return record_evidence(
        ledger, kind, says, workload=NAME, generation=1, verdict=verdict, body=body
    )


def look(ledger: psycopg.Connection[Any], rollout: str, number: int, weight: int) -> None:
    ledger.execute(
        statement("canary", "put_look"),
        {
            "workload": NAME,
            "generation": 1,
            "rollout": rollout,
            "number": number,
            "step": f"{weight} %",
            "weight": weight,
            "acknowledged": weight,
            "observed": weight / 100 / 3,
            "counts": Jsonb(
                {
                    "baseline": {"requests": 90, "bad": 2, "latency": 2},
                    "candidate": {"requests": 10, "bad": 1, "flagged": 1},
                }
            ),
            "e_values": Jsonb({"errors": 1.25, "tenant": 0.1 + 0.2, "fine": 3.0}),
            "verdict": "INCONCLUSIVE",
            "sentence": f"look {number}",
        },
    )


@pytest.fixture
def two_rollouts(ledger: psycopg.Connection[Any], target_url: str) -> None:
    """One that was taken back, then one that was promoted after two persons said yes."""
    apply_demo(ledger, target_url)
    note(ledger, "validation", Verdict.PASS)
    drill = note(
        ledger,
        "drill",
        Verdict.PASS,
        seconds_to_zero=0.012,
        flips=3,
        weight=1,
        failed_requests=0,
        versions={"router": "1"},
        valid_hours=24,
    )
    ledger.execute(
        statement("ledger", "issue_certificate"),
        {
            "workload": NAME,
            "generation": 1,
            "router": "edge-1",
            "versions": Jsonb({"router": "1"}),
            "seconds_to_zero": 0.012,
            "failed_requests": 0,
            "evidence_number": drill,
            "valid_hours": 24,
        },
    )
    look(ledger, FIRST, 1, 5)
    note(
        ledger,
        "rollback",
        Verdict.PASS,
        seconds_to_zero=0.02,
        why="errors: canary 9 of 10",
        from_weight=5,
        final_weight=0,
    )
    note(
        ledger,
        "rollout",
        Verdict.FAIL,
        says=f"{NAME} g1: errors: canary 9 of 10.",
        rollout=FIRST,
        requests=100,
        failed_requests=0,
    )
    look(ledger, SECOND, 1, 5)
    approvals.ask(
        ledger,
        Question(
            f"canary-{SECOND}-above-5", NAME, 1, f"{NAME} above 5 %", "Go above?", 60, 2, "Idris"
        ),
    )
    for who in ("Amal", "Sami"):
        approvals.answer(ledger, f"canary-{SECOND}-above-5", "approve", by=who, notes=f"by {who}")
    look(ledger, SECOND, 2, 50)
    note(
        ledger,
        "rollout",
        Verdict.PASS,
        says=f"{NAME} g1: promoted; harm ×2 rejected.",
        rollout=SECOND,
        requests=200,
        failed_requests=0,
        final_weight=100,
        steps=[
            {"step": "5 %", "weight": 5, "verdict": "PASS", "sentence": "fine", "requests": 100}
        ],
    )


pytestmark = pytest.mark.usefixtures("two_rollouts")


def test_each_rollout_has_its_own_rows_looks_and_answers(ledger: psycopg.Connection[Any]) -> None:
    assert [r["rollout"] for r in rollouts_of(ledger, NAME)] == [FIRST, SECOND]
    first, second = collect_rollout(ledger, NAME, FIRST), collect_rollout(ledger, NAME)
    assert (first.rollout, second.rollout) == (FIRST, SECOND)
    assert [r.kind for r in first.rows] == ["validation", "drill", "rollback", "rollout"]
    assert [r.kind for r in second.rows] == [
        "validation",
        "drill",
        "approval",
        "approval",
        "rollout",
    ]
    assert (len(first.looks), len(second.looks)) == (1, 2)
    assert first.approvals == []
    assert [a.name for a in second.approvals[0].answers] == ["Amal", "Sami"]
    assert second.certificate is not None
    with pytest.raises(Refused, match=f"no rollout other; it had: {FIRST}, {SECOND}"):
        collect_rollout(ledger, NAME, "other")


def test_a_bundle_holds_what_it_says_and_proves_it(
    ledger: psycopg.Connection[Any], tmp_path: Path
) -> None:
    bundle = write_bundle(ledger, collect_rollout(ledger, NAME))
    assert bundle.path == tmp_path / "home" / "evidence" / SECOND
    assert sorted(f.name for f in bundle.path.iterdir()) == FILES
    assert sorted(bundle.files) == [f for f in FILES if f != "MANIFEST.json"]
    page = (bundle.path / "rollout.html").read_text()
    assert "Promoted: 0 of 200 requests failed" in page
    assert page.count("<svg") == 1
    given = json.loads((bundle.path / "approvals.json").read_text())
    assert [a["name"] for a in given[0]["answers"]] == ["Amal", "Sami"]
    assert given[0]["requested_by"] == "Idris"
    proven = json.loads((bundle.path / "certificate.json").read_text())
    assert proven["certificate"]["evidence_number"] == proven["drill"]["number"]
    with duckdb.connect() as database:
        rows = database.execute(
            "SELECT number, step, baseline_bad, candidate_flagged, candidate_errors, e_tenant,"
            " e_under, observed, epoch_us(looked_at) FROM read_parquet(?) ORDER BY number",
            [str(bundle.path / "looks.parquet")],
        ).fetchall()
    stored = collect_rollout(ledger, NAME).looks
    assert [row[:8] for row in rows] == [
        (1, "5 %", 2, 1, 0, 0.1 + 0.2, None, 5 / 100 / 3),
        (2, "50 %", 2, 1, 0, 0.1 + 0.2, None, 50 / 100 / 3),
    ]
    assert [row[8] for row in rows] == [round(s["looked_at"].timestamp() * 1e6) for s in stored]
    check = check_bundle(bundle.path, ledger)
    assert check.problems == ()
    assert (check.compared, check.files, check.looks, check.masked) == (True, 5, 2, 0)
    assert check.rows == bundle.evidence_rows
    assert check.manifest_sha256 == bundle.manifest_sha256
    assert check_bundle(bundle.path, None).intact


def test_a_zip_is_the_same(ledger: psycopg.Connection[Any], tmp_path: Path) -> None:
    file = tmp_path / "proof.zip"
    write_bundle(ledger, collect_rollout(ledger, NAME, FIRST), file)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == FILES
    check = check_bundle(file, ledger)
    assert (check.rollout, check.problems) == (FIRST, ())
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith(".")] == []


def test_an_old_bundle_is_replaced_and_nothing_else_is(
    ledger: psycopg.Connection[Any], tmp_path: Path
) -> None:
    place = tmp_path / "kept"
    write_bundle(ledger, collect_rollout(ledger, NAME, FIRST), place)
    write_bundle(ledger, collect_rollout(ledger, NAME), place)
    assert check_bundle(place, ledger).rollout == SECOND
    other = tmp_path / "letters"
    other.mkdir()
    (other / "mine.txt").write_text("dear")
    for to in (other, other / "mine.txt"):
        with pytest.raises(BadInput, match="cannot be written"):
            write_bundle(ledger, collect_rollout(ledger, NAME), to)
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(BadInput, match=r"ends in \.zip is to be a file"):
        write_bundle(ledger, collect_rollout(ledger, NAME), tmp_path / "a.zip")
    assert (other / "mine.txt").read_text() == "dear"


def change_row(text: str) -> str:
    return text.replace("drill is PASS", "drill is fast")


def drop_row(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[1:])


@pytest.mark.parametrize(
    ("file", "change", "alone", "by_ledger"),
    [
        ("rollout.html", lambda t: t + " ", "rollout.html was changed", None),
        ("evidence.jsonl", change_row, "row 2 was changed after it was written", None),
        (
            "evidence.jsonl",
            lambda t: t.replace('"digest": "', '"digest": "0'),
            "row 1 was changed",
            "row 1 is another one in the ledger",
        ),
        ("approvals.json", None, "approvals.json is missing", None),
        ("looks.parquet", None, "looks.parquet is missing", None),
        ("more.txt", lambda _: "more", "more.txt is not of this bundle", None),
    ],
)
def test_what_was_changed_is_named(
    ledger: psycopg.Connection[Any],
    tmp_path: Path,
    file: str,
    change: Any,
    alone: str,
    by_ledger: str | None,
) -> None:
    place = tmp_path / "kept"
    write_bundle(ledger, collect_rollout(ledger, NAME), place)
    path = place / file
    if change is None:
        path.unlink()
    else:
        path.write_text(change(path.read_text() if path.exists() else ""))
    problems = " | ".join(check_bundle(place, None).problems)
    assert alone in problems
    if by_ledger is not None:
        assert by_ledger in " | ".join(check_bundle(place, ledger).problems)


def test_who_writes_the_manifest_anew_is_found_by_the_ledger(
    ledger: psycopg.Connection[Any], ledger_url: str, tmp_path: Path
) -> None:
    write_bundle(ledger, collect_rollout(ledger, NAME), tmp_path / "kept")
    ledger.execute("UPDATE qafila.look SET verdict = 'PASS' WHERE number = 2")
    ledger.execute("ALTER TABLE qafila.evidence DISABLE TRIGGER ALL")
    ledger.execute("DELETE FROM qafila.evidence WHERE number = 1")
    assert check_bundle(tmp_path / "kept", None).intact
    assert check_bundle(tmp_path / "kept", ledger).problems == (
        "row 1 is not in the ledger",
        "look 2 is another one in the ledger",
    )


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"format": 9, "files": {}}'])
def test_what_is_no_bundle_is_refused(
    ledger: psycopg.Connection[Any], tmp_path: Path, content: str | None
) -> None:
    place = tmp_path / "thing"
    place.mkdir()
    if content is not None:
        (place / "MANIFEST.json").write_text(content)
    with pytest.raises(BadInput, match="no readable bundle"):
        check_bundle(place, None)
    with pytest.raises(BadInput, match="no readable bundle"):
        check_bundle(tmp_path / "nothing.zip", None)


def test_no_secret_leaves_and_the_row_says_that_one_was_taken_out(
    ledger: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QAFILA_SECRET_EDGE", "another-of-them")
    ledger.execute(
        statement("ledger", "put_connection"),
        {
            "name": "leaky",
            "kind": "qafila-postgres",
            "has_secret": False,
            "settings": Jsonb({"url": f"postgresql://me:{PASSWORD}@h/db"}),
        },
    )
    look(ledger, SECOND, 3, 50)
    ledger.execute(
        "UPDATE qafila.look SET sentence = %s WHERE number = 3",
        [f"no answer from http://u:{PASSWORD}@h with another-of-them"],
    )
    leaky = note(
        ledger,
        "rollout",
        Verdict.FAIL,
        rollout=SECOND,
        says=f"{PASSWORD} was refused",
        blind=[f"http://x:{PASSWORD}@h"],
    )
    bundle = write_bundle(ledger, collect_rollout(ledger, NAME), tmp_path / "kept")
    with duckdb.connect() as database:
        looks = database.execute(
            "SELECT sentence FROM read_parquet(?)", [str(tmp_path / "kept" / "looks.parquet")]
        ).fetchall()
    texts = [f.read_bytes() for f in bundle.path.iterdir()] + [str(looks).encode()]
    for secret in (PASSWORD, "another-of-them"):
        assert not [t for t in texts if secret.encode() in t]
    assert ("no answer from http://u:***@h with ***",) in looks
    assert bundle.masked_rows == 1
    lines = (bundle.path / "evidence.jsonl").read_text().splitlines()
    assert [r["number"] for r in map(json.loads, lines) if r.get("masked")] == [leaky]
    check = check_bundle(bundle.path, ledger)
    assert (check.problems, check.masked) == ((), 1)


def test_the_commands(ledger: psycopg.Connection[Any], tmp_path: Path) -> None:
    run = CliRunner().invoke
    place = tmp_path / "kept"
    shown = run(app, ["evidence", "export", NAME, "--to", str(place)])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[0] == str(place)
    assert "PASS  Promoted: 0 of 200 requests failed" in shown.output
    told = json.loads(run(app, ["evidence", "export", NAME, "--rollout", FIRST, "--json"]).output)
    assert (told["rollout"], told["verdict"], told["looks"]) == (FIRST, "FAIL", 1)
    verify = ["evidence", "verify", "--bundle", str(place)]
    shown = run(app, verify)
    assert (shown.exit_code, "as in the ledger" in shown.output) == (0, True), shown.output
    assert "not compared with a ledger" in run(app, [*verify, "--offline"]).output
    (place / "rollout.html").write_text("all is well")
    broken = run(app, [*verify, "--json"])
    assert broken.exit_code == 1
    assert json.loads(broken.output)["problems"] == [
        "rollout.html was changed after it was written"
    ]
    lines = run(app, ["evidence", "rows", NAME]).output.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [r["number"] for r in rows] == list(range(rows[0]["number"], rows[-1]["number"] + 1))
    assert rows[1]["previous"] == rows[0]["digest"]
    shown = run(app, ["evidence", "rows", NAME, "--to", str(tmp_path / "rows.jsonl")])
    assert shown.output == f"{len(rows)} rows written to {tmp_path / 'rows.jsonl'}.\n"
    assert isinstance(run(app, ["evidence", "verify", "--offline"]).exception, BadInput)


def test_a_rollout_that_went_back_before_it_looked_has_its_way_back(
    ledger: psycopg.Connection[Any],
) -> None:
    note(ledger, "rollback", Verdict.PASS, seconds_to_zero=0.01, why="the candidate is not healthy")
    note(
        ledger,
        "rollout",
        Verdict.ERROR,
        rollout=f"{NAME}-g1-e9",
        seconds=0.5,
        requests=0,
        says=f"{NAME} g1: Unavailable: the candidate is not healthy.",
    )
    facts = collect_rollout(ledger, NAME)
    assert (facts.rollout, len(facts.looks)) == (f"{NAME}-g1-e9", 0)
    assert "rollback" in [row.kind for row in facts.rows]
    assert write_bundle(ledger, facts).files["looks.parquet"]


def test_without_a_rollout_the_rows_are_named_instead(ledger: psycopg.Connection[Any]) -> None:
    ledger.execute("TRUNCATE qafila.look")
    ledger.execute("ALTER TABLE qafila.evidence DISABLE TRIGGER ALL")
    ledger.execute("DELETE FROM qafila.evidence WHERE kind = 'rollout'")
    with pytest.raises(Refused, match="had no rollout yet") as refused:
        collect_rollout(ledger, NAME)
    assert refused.value.remedy == f"its evidence as lines: qafila evidence rows {NAME}"
