"""Every change to the evidence chain shows: in the ledger, and in an exported bundle."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from qafila.errors import BadInput
from qafila.ledger.chain import link_digest
from qafila.ledger.evidence import check_chain, hashed, record_evidence
from qafila.ledger.evidence_head import keep_head
from qafila.report.bundle import write_bundle
from qafila.report.bundle_check import check_bundle
from qafila.report.rollout_reader import collect_rollout
from qafila.workload.verdict import Verdict
from tests.support.applied import apply_demo

Ledger = psycopg.Connection[Any]
NAME = "aws-docs-search"
ROLLOUT = f"{NAME}-g1-e1"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger_url: str) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)


@pytest.fixture
def rows(ledger: Ledger, target_url: str) -> int:
    """Five rows of one rollout, the last of which ends it."""
    apply_demo(ledger, target_url)
    start = record_evidence(ledger, "validation", "valid", workload=NAME, generation=1)
    for n in (1, 2, 3):
        record_evidence(
            ledger,
            "drill",
            f"drill {n}",
            workload=NAME,
            generation=1,
            verdict=Verdict.PASS,
            body={"n": n, "nested": {"a": [1, None]}},
            run_id=f"run-{n}",
        )
    record_evidence(
        ledger,
        "rollout",
        "promoted",
        workload=NAME,
        generation=1,
        verdict=Verdict.PASS,
        body={"rollout": ROLLOUT, "requests": 1, "failed_requests": 0},
    )
    return start


def tamper(ledger: Ledger, statement: str, values: dict[str, Any] | None = None) -> None:
    """Change the tables as their owner can: with every trigger switched off."""
    with ledger.transaction():
        for table in ("evidence", "evidence_head"):
            ledger.execute(f"ALTER TABLE qafila.{table} DISABLE TRIGGER ALL")
        ledger.execute(statement, values)
        for table in ("evidence", "evidence_head"):
            ledger.execute(f"ALTER TABLE qafila.{table} ENABLE TRIGGER ALL")


def read_row(ledger: Ledger, number: int) -> dict[str, Any]:
    with ledger.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT * FROM qafila.evidence WHERE number = %s", [number]).fetchone()
    assert row is not None
    return row


def rewrite(ledger: Ledger, number: int, *, move_head: bool) -> None:
    """Give a row another sentence and the digest that fits it, the head too where asked."""
    row = {**read_row(ledger, number), "sentence": "another outcome"}
    digest = link_digest(row["previous"], number, hashed(row))
    tamper(
        ledger,
        "UPDATE qafila.evidence SET sentence = 'another outcome', digest = %(digest)s"
        " WHERE number = %(number)s",
        {"digest": digest, "number": number},
    )
    if move_head:
        tamper(ledger, "UPDATE qafila.evidence_head SET digest = %(digest)s", {"digest": digest})


COLUMN_CHANGES = {
    "workload": "workload = 'other'",
    "workload to NULL": "workload = NULL",
    "generation": "generation = 2",
    "generation to NULL": "generation = NULL",
    "generation to 0": "generation = 0",
    "kind": "kind = 'validation'",
    "run_id": "run_id = 'run-9'",
    "run_id to NULL": "run_id = NULL",
    "run_id to empty": "run_id = ''",
    "verdict": "verdict = 'FAIL'",
    "verdict to NULL": "verdict = NULL",
    "sentence": "sentence = 'drill 2 '",
    "one microsecond": "recorded_at = recorded_at + interval '1 microsecond'",
    "one day": "recorded_at = recorded_at - interval '1 day'",
    "body value": "body = jsonb_set(body, '{n}', '9')",
    "body number to text": "body = jsonb_set(body, '{n}', '\"2\"')",
    "body null to false": "body = jsonb_set(body, '{nested,a,1}', 'false')",
    "body key removed": "body = body - 'n'",
    "body key added": "body = body || '{\"more\": null}'",
    "body order of a list": "body = jsonb_set(body, '{nested,a}', '[null, 1]')",
    "previous": "previous = repeat('0', 64)",
    "digest": "digest = repeat('f', 64)",
    "number": "number = number + 100",
    "swapped with its neighbour": "sentence = kind, kind = sentence",
}


@pytest.mark.parametrize("change", COLUMN_CHANGES.values(), ids=COLUMN_CHANGES.keys())
def test_a_changed_column_shows_in_the_ledger(ledger: Ledger, rows: int, change: str) -> None:
    assert check_chain(ledger).intact
    tamper(ledger, f"UPDATE qafila.evidence SET {change} WHERE number = {rows + 2}")
    problems = check_chain(ledger).problems
    assert any(f"row {rows + 2}" in p or f"row {rows + 3}" in p for p in problems), problems


def test_null_made_a_value_shows_in_the_ledger(ledger: Ledger, rows: int) -> None:
    for change in ("run_id = ''", "verdict = 'PASS'", "run_id = 'null'"):
        before = read_row(ledger, rows)
        tamper(ledger, f"UPDATE qafila.evidence SET {change} WHERE number = {rows}")
        assert f"row {rows} was changed after it was written" in check_chain(ledger).problems
        tamper(
            ledger,
            "UPDATE qafila.evidence SET run_id = %(run_id)s, verdict = %(verdict)s"
            " WHERE number = %(number)s",
            before,
        )
        assert check_chain(ledger).intact


def test_swapped_neighbours_show_in_the_ledger(ledger: Ledger, rows: int) -> None:
    a, b = rows + 1, rows + 2
    tamper(ledger, f"UPDATE qafila.evidence SET number = -1 WHERE number = {a}")
    tamper(ledger, f"UPDATE qafila.evidence SET number = {a} WHERE number = {b}")
    tamper(ledger, f"UPDATE qafila.evidence SET number = {b} WHERE number = -1")
    problems = check_chain(ledger).problems
    assert f"row {a} was changed after it was written" in problems
    assert f"row {a} does not follow the row before it" in problems


def insert_after(ledger: Ledger, number: int) -> None:
    """Insert a row with a right digest after ``number`` and move the later rows up by one."""
    with ledger.transaction():
        last = ledger.execute("SELECT max(number) FROM qafila.evidence").fetchone()
        assert last is not None
        for later in range(last[0], number, -1):
            tamper(
                ledger, f"UPDATE qafila.evidence SET number = {later + 1} WHERE number = {later}"
            )
        before = read_row(ledger, number)
        row = {**before, "sentence": "inserted", "number": number + 1, "previous": before["digest"]}
        row["digest"] = link_digest(row["previous"], row["number"], hashed(row))
        tamper(
            ledger,
            "INSERT INTO qafila.evidence (number, workload, generation, kind, run_id, verdict,"
            " sentence, recorded_at, body, previous, digest) VALUES (%(number)s, %(workload)s,"
            " %(generation)s, %(kind)s, %(run_id)s, %(verdict)s, %(sentence)s, %(recorded_at)s,"
            " %(body)s, %(previous)s, %(digest)s)",
            {**row, "body": Jsonb(row["body"])},
        )


def test_an_inserted_row_shows_in_the_ledger(ledger: Ledger, rows: int) -> None:
    insert_after(ledger, rows + 1)
    problems = check_chain(ledger).problems
    assert f"row {rows + 3} does not follow the row before it" in problems
    assert f"row {rows + 3} was changed after it was written" in problems


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("number = {rows} + 2", "row {missing} is missing before row {after}"),
        ("number = {rows} + 4", "the chain ends at row"),
    ],
    ids=["in the middle", "at the end"],
)
def test_a_deleted_row_shows_in_the_ledger(
    ledger: Ledger, rows: int, condition: str, problem: str
) -> None:
    tamper(ledger, f"DELETE FROM qafila.evidence WHERE {condition.format(rows=rows)}")
    told = " | ".join(check_chain(ledger).problems)
    assert problem.format(missing=rows + 2, after=rows + 3) in told
    if "does not" in problem:
        assert "does not follow" in told


def test_a_deleted_row_whose_numbers_are_closed_up_shows_in_the_ledger(
    ledger: Ledger, rows: int
) -> None:
    tamper(ledger, f"DELETE FROM qafila.evidence WHERE number = {rows + 2}")
    tamper(ledger, f"UPDATE qafila.evidence SET number = {rows + 2} WHERE number = {rows + 3}")
    assert f"row {rows + 2} does not follow the row before it" in check_chain(ledger).problems


def test_a_rewritten_last_row_with_a_right_digest_shows_by_the_head_row(
    ledger: Ledger, rows: int
) -> None:
    rewrite(ledger, rows + 4, move_head=False)
    assert [p for p in check_chain(ledger).problems if "the head says" in p]


def test_a_rewritten_last_row_shows_by_the_kept_head_although_the_head_row_fits(
    ledger: Ledger, rows: int
) -> None:
    assert keep_head(ledger) is not None
    rewrite(ledger, rows + 4, move_head=True)
    assert f"row {rows + 4} is another one than when it was last seen" in " | ".join(
        check_chain(ledger).problems
    )


def test_an_emptied_chain_with_a_reset_head_is_no_intact_chain(ledger: Ledger, rows: int) -> None:
    keep_head(ledger)
    tamper(ledger, "TRUNCATE qafila.evidence CASCADE")
    tamper(ledger, "UPDATE qafila.evidence_head SET number = 0, digest = repeat('0', 64)")
    check = check_chain(ledger)
    assert (check.rows, check.intact) == (0, False)
    assert f"it had {rows + 4} rows when it was last seen" in check.problems[0]
    record_evidence(ledger, "test", "a new beginning")
    assert not check_chain(ledger).intact
    assert keep_head(ledger) is None  # the head once seen is not replaced by another chain's
    assert not check_chain(ledger).intact


def test_a_tail_cut_off_with_the_head_row_shows_by_the_kept_head(ledger: Ledger, rows: int) -> None:
    keep_head(ledger)
    tamper(ledger, f"DELETE FROM qafila.evidence WHERE number > {rows + 2}")
    tamper(
        ledger,
        "UPDATE qafila.evidence_head SET (number, digest) ="
        f" (SELECT number, digest FROM qafila.evidence WHERE number = {rows + 2})",
    )
    assert f"it had {rows + 4} rows when it was last seen" in check_chain(ledger).problems[0]


def test_a_chain_that_grew_follows_the_kept_head(ledger: Ledger, rows: int) -> None:
    first = keep_head(ledger)
    record_evidence(ledger, "test", "more")
    assert check_chain(ledger).intact
    second = keep_head(ledger)
    assert first is not None
    assert second is not None
    assert (second.number, second.path) == (first.number + 1, first.path)
    assert second.path.stat().st_mode & 0o777 == 0o600
    assert second.path.parent.stat().st_mode & 0o777 == 0o700
    assert check_chain(ledger).intact


def test_a_kept_head_that_was_written_by_hand_shows(ledger: Ledger, rows: int) -> None:
    kept = keep_head(ledger)
    assert kept is not None
    text = json.loads(kept.path.read_text())
    text["number"] = 1
    kept.path.write_text(json.dumps(text))
    assert "was not written by this home" in check_chain(ledger).problems[-1]
    assert keep_head(ledger) is None
    kept.path.write_text("{")
    assert "was not written by this home" in check_chain(ledger).problems[-1]


def test_a_head_is_not_kept_before_its_row_is_committed(ledger: Ledger, rows: int) -> None:
    class Undone(Exception):
        pass

    def undone() -> None:
        with ledger.transaction():
            record_evidence(ledger, "test", "taken back")
            assert keep_head(ledger) is None
            raise Undone

    with pytest.raises(Undone):
        undone()
    assert check_chain(ledger).intact


@pytest.mark.parametrize(
    "change",
    [
        "TRUNCATE qafila.evidence CASCADE",
        "UPDATE qafila.evidence SET sentence = 'x'",
        "DELETE FROM qafila.evidence",
        "TRUNCATE qafila.evidence_head",
        "DELETE FROM qafila.evidence_head",
        "UPDATE qafila.evidence_head SET number = 0, digest = repeat('0', 64)",
        "UPDATE qafila.evidence_head SET digest = repeat('f', 64)",
        "INSERT INTO qafila.evidence SELECT number + 100, workload, generation, kind, run_id,"
        " verdict, sentence, recorded_at, body, previous, digest FROM qafila.evidence LIMIT 1",
    ],
)
@pytest.mark.parametrize("role", ["origin", "replica"])
def test_a_change_is_refused_also_under_the_replica_role(
    ledger: Ledger, rows: int, change: str, role: str
) -> None:
    ledger.execute(f"SET session_replication_role = {role}")
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        ledger.execute(change)
    assert check_chain(ledger).intact


INSERT = """INSERT INTO qafila.evidence
    SELECT %(number)s, workload, generation, kind, run_id, verdict, sentence, recorded_at, body,
           %(previous)s, repeat('a', 64)
    FROM qafila.evidence LIMIT 1"""
MOVE = "UPDATE qafila.evidence_head SET number = %(number)s, digest = %(digest)s"


def head_of(ledger: Ledger) -> tuple[int, str]:
    head = ledger.execute("SELECT number, digest FROM qafila.evidence_head").fetchone()
    assert head is not None
    return head[0], head[1]


@pytest.mark.parametrize("wrong", ["number above", "number below", "previous"])
def test_a_row_that_does_not_follow_the_head_is_refused(
    ledger: Ledger, rows: int, wrong: str
) -> None:
    number, digest = head_of(ledger)
    row: dict[str, Any] = {"number": number + 1, "previous": digest}
    changes: dict[str, dict[str, Any]] = {
        "number above": {"number": number + 2},
        "number below": {"number": -1},
        "previous": {"previous": "b" * 64},
    }
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        ledger.execute(INSERT, {**row, **changes[wrong]})
    ledger.execute(INSERT, row)  # nothing else about it was wrong


@pytest.mark.parametrize("wrong", ["number of the row", "previous of the row", "digest", "number"])
def test_a_head_that_does_not_move_to_the_next_row_is_refused(
    ledger: Ledger, rows: int, wrong: str
) -> None:
    """The row is put there with the triggers off, so that the head's own guard is what refuses."""
    number, digest = head_of(ledger)
    row: dict[str, Any] = {"number": number + 1, "previous": digest}
    head: dict[str, Any] = {"number": number + 1, "digest": "a" * 64}
    if wrong == "number of the row":
        row["number"] += 1
    elif wrong == "previous of the row":
        row["previous"] = "b" * 64
    elif wrong == "digest":
        head["digest"] = "b" * 64
    else:
        row["number"] = head["number"] = number + 2
    tamper(ledger, INSERT, row)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        ledger.execute(MOVE, head)
    assert head_of(ledger) == (number, digest)


def test_a_second_writer_waits_for_the_first_and_follows_its_row(
    ledger: Ledger, ledger_url: str, rows: int
) -> None:
    last = head_of(ledger)[0]
    with (
        psycopg.connect(ledger_url) as first,
        psycopg.connect(ledger_url, autocommit=True) as second,
        ThreadPoolExecutor(1) as thread,
    ):
        first.execute("SELECT 1")  # the transaction stays open after the row
        assert record_evidence(first, "test", "first") == last + 1
        waiting = thread.submit(record_evidence, second, "test", "second")
        while not waiting.done() and not is_waiting(ledger, second.info.backend_pid):
            time.sleep(0.01)
        first.commit()
        assert waiting.result(timeout=10) == last + 2
    assert check_chain(ledger).intact


def is_waiting(ledger: Ledger, pid: int) -> bool:
    row = ledger.execute("SELECT pg_blocking_pids(%s) <> ARRAY[]::integer[]", [pid]).fetchone()
    assert row is not None
    return bool(row[0])


# --- the bundle --------------------------------------------------------------------------------


def exported(ledger: Ledger, folder: Path) -> Path:
    return write_bundle(ledger, collect_rollout(ledger, NAME), folder).path


def reseal(bundle: Path) -> None:
    """Write the manifest anew, so that every file has the digest that it names."""
    manifest = json.loads((bundle / "MANIFEST.json").read_text())
    for name in manifest["files"]:
        content = (bundle / name).read_bytes()
        manifest["files"][name] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
    (bundle / "MANIFEST.json").write_text(json.dumps(manifest))


def change_lines(bundle: Path, change: Any) -> None:
    file = bundle / "evidence.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    change(lines)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    reseal(bundle)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("workload", "other"),
        ("workload", None),
        ("generation", 2),
        ("generation", None),
        ("kind", "validation"),
        ("run_id", "run-9"),
        ("run_id", None),
        ("run_id", ""),
        ("verdict", "FAIL"),
        ("verdict", None),
        ("sentence", "drill 2 "),
        ("recorded_at", "2026-01-01T00:00:00.000000+00:00"),
        ("body", {"n": 9}),
        ("body", {}),
        ("body", None),
        ("previous", "0" * 64),
        ("digest", "f" * 64),
    ],
)
def test_a_changed_column_shows_in_a_bundle_whose_manifest_fits(
    ledger: Ledger, rows: int, tmp_path: Path, column: str, value: object
) -> None:
    bundle = exported(ledger, tmp_path / "kept")
    assert check_bundle(bundle, ledger).problems == ()
    change_lines(bundle, lambda lines: lines[2].update({column: value}))
    assert check_bundle(bundle, None).problems
    assert check_bundle(bundle, ledger).problems


def test_a_changed_column_of_a_masked_row_shows_against_the_ledger(
    ledger: Ledger, rows: int, tmp_path: Path
) -> None:
    bundle = exported(ledger, tmp_path / "kept")
    change_lines(bundle, lambda lines: lines[2].update(verdict="FAIL", masked=True))
    assert f"row {rows + 2} is another one in the ledger" in check_bundle(bundle, ledger).problems


def _insert(lines: list[dict[str, Any]]) -> None:
    row = {**lines[2], "sentence": "inserted"}
    lines.insert(3, row)


def _rewrite_last(lines: list[dict[str, Any]]) -> None:
    from datetime import datetime

    row = lines[-1]
    row["verdict"] = "FAIL"
    stored = {**row, "recorded_at": datetime.fromisoformat(row["recorded_at"])}
    row["digest"] = link_digest(row["previous"], row["number"], hashed(stored))


def _empty(lines: list[dict[str, Any]]) -> None:
    lines.clear()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_insert, "stands after row"),
        (_rewrite_last, "is another one in the ledger"),
        (lambda lines: lines.pop(2), "of the ledger is missing"),
        (lambda lines: lines.pop(0), "of the ledger is missing"),
        (lambda lines: lines.pop(), "of the ledger is missing"),
        (_empty, "of the ledger is missing"),
    ],
    ids=["inserted", "last rewritten", "middle deleted", "first deleted", "last deleted", "empty"],
)
def test_rows_inserted_deleted_or_rewritten_show_in_a_bundle_whose_manifest_fits(
    ledger: Ledger, rows: int, tmp_path: Path, change: Any, problem: str
) -> None:
    bundle = exported(ledger, tmp_path / "kept")
    change_lines(bundle, change)
    assert problem in " | ".join(check_bundle(bundle, ledger).problems)


def test_a_bundle_whose_head_the_ledger_does_not_have_shows(
    ledger: Ledger, rows: int, tmp_path: Path
) -> None:
    bundle = exported(ledger, tmp_path / "kept")
    record_evidence(ledger, "rollback", "later", workload=NAME, generation=1)
    assert check_bundle(bundle, ledger).problems == ()  # what came later is no fault of it
    manifest = json.loads((bundle / "MANIFEST.json").read_text())
    manifest["chain"]["head_digest"] = "f" * 64
    (bundle / "MANIFEST.json").write_text(json.dumps(manifest))
    assert "the head of the chain" in " | ".join(check_bundle(bundle, ledger).problems)


def test_a_row_rewritten_in_the_ledger_shows_by_the_bundle(
    ledger: Ledger, rows: int, tmp_path: Path
) -> None:
    bundle = exported(ledger, tmp_path / "kept")
    rewrite(ledger, rows + 4, move_head=True)
    assert f"row {rows + 4} is another one in the ledger" in check_bundle(bundle, ledger).problems


def test_a_manifest_without_a_chain_is_refused(ledger: Ledger, rows: int, tmp_path: Path) -> None:
    bundle = exported(ledger, tmp_path / "kept")
    manifest = json.loads((bundle / "MANIFEST.json").read_text())
    del manifest["chain"]
    (bundle / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="cannot be read"):
        check_bundle(bundle, ledger)
