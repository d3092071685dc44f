"""What decides, by area, and the tests that are to notice a change to it: the narrowest first."""

from __future__ import annotations

from dataclasses import dataclass

_LEDGER = "qafila/sql/statements/ledger.sql"
_BACKFILL = "qafila/sql/statements/backfill.sql"
_CANARY = "qafila/sql/statements/canary.sql"


@dataclass(frozen=True)
class Area:
    """Modules, SQL files (with the statements that count; None: all of it), and their tests."""

    modules: tuple[str, ...]
    sql: tuple[tuple[str, tuple[str, ...] | None], ...]
    tests: tuple[str, ...]


AREAS = {
    "evidence": Area(
        ("qafila/ledger/chain.py", "qafila/ledger/evidence.py", "qafila/ledger/evidence_head.py"),
        (
            (
                _LEDGER,
                (
                    "lock_evidence_head",
                    "appended_evidence",
                    "move_evidence_head",
                    "evidence_chain",
                    "evidence_numbered",
                    "answers_in_evidence",
                    "evidence_of",
                ),
            ),
            ("qafila/sql/ledger/0010_evidence_guard.sql", None),
        ),
        (
            "tests/unit/ledger/test_evidence.py",
            "tests/integration/ledger/test_evidence_rows.py",
            "tests/integration/ledger/test_ledger.py",
            "tests/integration/ledger/test_counted_by_evidence.py",
            "tests/integration/ledger/test_evidence_chain.py",
        ),
    ),
    "leases": Area(
        ("qafila/ledger/leases.py",),
        (
            (
                _LEDGER,
                (
                    "take_lease",
                    "beat_lease",
                    "release_lease",
                    "read_lease",
                    "lapsed_leases",
                    "held_leases",
                ),
            ),
        ),
        (
            "tests/unit/ledger/test_lease.py",
            "tests/integration/backfill/test_leases_and_claims.py",
            "tests/integration/ledger/test_leases.py",
        ),
    ),
    "claims": Area(
        ("qafila/backfill/claims.py",),
        (
            (
                _BACKFILL,
                (
                    "insert_shard",
                    "forget_shards",
                    "list_shards",
                    "claim_shard",
                    "left_to_load",
                    "beat_shard",
                    "release_shard",
                    "claimed_here",
                    "let_go",
                ),
            ),
        ),
        (
            "tests/integration/backfill/test_claim_rows.py",
            "tests/integration/backfill/test_leases_and_claims.py",
            "tests/integration/backfill/test_claims_machine.py",
        ),
    ),
    "rollback": Area(
        ("qafila/rollback/traffic.py",),
        (
            (_LEDGER, ("raise_epoch", "spooled_evidence")),
            (_CANARY, ("generations_on_the_road", "returned_to")),
        ),
        (
            "tests/unit/rollback/test_descent.py",
            "tests/integration/rollback/test_way_back_rows.py",
        ),
    ),
    "judge": Area(
        tuple(
            f"qafila/rollout/judge/{name}.py"
            for name in (
                "calibration",
                "e_values",
                "evidence",
                "guardrails",
                "judgement",
                "tenant_names",
                "objectives",
                "sample_plan",
                "quality",
                "tenants",
            )
        ),
        (),
        (
            *(
                f"tests/unit/rollout/judge/test_{name}.py"
                for name in (
                    "analysis",
                    "analysis_e_values",
                    "analysis_tenants",
                    "analysis_planning",
                )
            ),
            "tests/unit/validation/test_judgements.py",
            "tests/unit/rollout/judge/test_judge_thresholds.py",
            "tests/unit/rollout/judge/test_analysis_naming.py",
        ),
    ),
}
