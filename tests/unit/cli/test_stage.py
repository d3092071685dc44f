"""What the demo shows of a piece of evidence: few lines, none too long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from qafila.cli import screen
from qafila.cli.stage import ScreenStage
from qafila.ledger.evidence import Evidence


def shown(
    capsys: pytest.CaptureFixture[str], kind: str, sentence: str, verdict: str = "PASS", **body: Any
) -> list[str]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    stage = ScreenStage()
    stage.told(Evidence(1, "w", 1, kind, None, verdict, sentence, now, body, "d"))
    return capsys.readouterr().out.splitlines()


def test_a_long_sentence_is_wrapped_under_its_phase(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "decision", "seven patterns compared, and one of them chosen " * 6)
    assert lines[0].startswith("  2 architecture  seven patterns")
    assert "PASS" in lines[0]
    assert len(lines) > 2
    assert all(len(line) < 130 for line in lines)
    assert all(line.startswith(" " * 18) for line in lines[1:])


def test_a_name_or_an_address_is_never_broken(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{'x' * n}-docs-search:key:{n}" for n in range(8, 110, 6)]
    lines = shown(capsys, "decision", " ".join(names))
    assert [word for line in lines for word in line.split() if "docs" in word] == names


@pytest.mark.parametrize("tell", [screen.say, screen.complain])
def test_a_line_is_printed_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    line = "redis:key:1 [bold] 10.0.0.1 " + "aws-docs-search " * 20
    tell(line)
    said = capsys.readouterr()
    assert f"{said.out}{said.err}" == f"{line}\n"


def test_a_table_on_a_narrow_terminal_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = StringIO()
    narrow = Console(file=written, force_terminal=True, no_color=True, width=40)
    monkeypatch.setattr(screen, "console", lambda: narrow)
    address = "http://127.0.0.1:4200/runs/flow-run/00000000-0000-0000-0000-000000000007"
    screen.print_table(["name", "address"], [["prefect", address]])
    assert "…" not in written.getvalue()
    assert address in "".join(written.getvalue().split()).replace("prefect", "")


def test_an_audit_shows_what_costs_money_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(
        capsys,
        "audit",
        "74 resources.",
        billed_not_found=[
            {"amount": "142.848", "currency": "USD"},
            {"amount": "1", "currency": "EUR"},
        ],
        found_not_billed=[{}],
        findings=[{"kind": "untagged gpu"}, {"kind": "orphan disk"}, {"kind": "idle instance"}],
    )
    assert lines[0].startswith("  1 audit         74 resources.")
    assert (
        lines[1].strip() == "! billed but not found: 142.85 USD + 1.00 EUR  "
        "! found but not billed: 1  ! 1 orphan disk"
    )
    assert lines[2].strip() == "! 1 GPU without tag"
    assert len(shown(capsys, "audit", "74 resources.")) == 1


def test_a_rollout_shows_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [{"step": "A/A", "verdict": "PASS"}, {"step": "1 %", "verdict": "FAIL"}]
    lines = shown(capsys, "rollout", "w g1: errors: 9", steps=steps, requests=9, failed_requests=0)
    assert "A/A ✓  1 % ✗" in lines[0]
    assert "9 requests judged · 0 failed for users · errors: 9" in lines[1]


def test_a_step_that_proved_nothing_and_an_approval_show(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    unproven = "200 requests, 2 on the canary, without harm; proved nothing more."
    steps = [
        {"step": "A/A", "weight": 0, "verdict": "PASS", "sentence": ""},
        {"step": "shadow", "weight": 0, "verdict": "INCONCLUSIVE", "sentence": "too few"},
        {"step": "5 %", "weight": 5, "verdict": "PASS", "sentence": unproven},
        {"step": "25 %", "weight": 25, "verdict": "PASS", "sentence": "harm ×2 rejected"},
        {"step": "50 %", "weight": 50, "verdict": "PASS", "sentence": "harm ×2 rejected"},
        {"step": "bake at 100 %", "weight": 100, "verdict": "PASS", "sentence": ""},
    ]
    body = {"steps": steps, "requests": 9, "failed_requests": 0}
    stage = ScreenStage()
    for kind, sentence in (
        ("approval", "w above 25 %: approved by demo."),
        ("rollout", "w g1: promoted; harm ×2 rejected (E = 21 ≥ 20)."),
    ):
        stage.told(Evidence(1, "w", 1, kind, None, "PASS", sentence, now, body, "d"))
    said = capsys.readouterr().out
    assert "A/A ✓  shadow ·  5 % ·  25 % ✓  approved  50 % ✓  bake at 100 % ✓" in said
    assert "0 failed for users · promoted; harm ×2 rejected (E = 21 ≥ 20)." in said


def test_a_validation_that_stopped_early_shows_why(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "validation", "3 rows are stale", systems={}, verdicts={})
    assert "3 rows are stale" in lines[0]


def test_a_validation_says_its_reason_unless_it_passed(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"systems": {"candidate": {"ndcg_at_10": 0.671}}, "verdicts": {}, "paired": {}}
    why = "the load generator itself was late."
    lines = shown(capsys, "validation", why, "INCONCLUSIVE", **figures)
    assert lines[-1].strip() == f"! {why}"
    assert why not in "".join(shown(capsys, "validation", why, **figures))


def test_a_drill_says_how_long_its_certificate_holds(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "drill", "35 ms, 0 of 9 failed.", valid_hours=168.0)
    assert "35 ms, 0 of 9 failed." in lines[0]
    assert lines[1].strip() == "certificate until 08 Jan 00:00 UTC"
