"""Inspection as a step of the plan, and from the shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from qdrant_client import QdrantClient, models
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from blocks import PostgresDatabase
from qafila.connections.qdrant import connect_qdrant
from qafila.errors import Unavailable
from qafila.inspect.inspection import inspect_source, risks
from qafila.inspect.qdrant import QdrantInspector
from qafila.ledger.connections import record_connection
from qafila.workload.corpus import PgvectorSource, QdrantSource
from tests.contract.inspect.indexes import (
    WIDTH,
    codes,
    healthy,
    points,
)
from tests.support.openai_service import in_a_thread


def test_the_plan_gets_its_risks(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    source = PgvectorSource.model_validate(
        {
            "kind": "pgvector",
            "block": "old-index",
            "table": "item",
            "key": ["id"],
            "text": "body",
            "vectors": {"model": "m"},
        }
    )
    reach = {"url": database.info.dsn}
    assert risks(inspect_source(source, reach)) == []
    database.execute("UPDATE item SET embedding = NULL WHERE id = 3")
    (risk,) = risks(inspect_source(source, reach))
    assert risk.startswith("serious in public.item: 1 of 200 rows have no vector")


def test_the_plan_of_a_collection_reads_the_fields_that_the_workload_names(
    tmp_path: Path,
) -> None:
    client = QdrantClient(path=str(tmp_path / "q"))
    client.create_collection(
        "docs", vectors_config=models.VectorParams(size=WIDTH, distance=models.Distance.DOT)
    )
    client.upsert("docs", points(text={3: ""}))
    client.close()
    source = QdrantSource.model_validate(
        {
            "kind": "qdrant",
            "block": "old-index",
            "collection": "docs",
            "text": "page_content",
            "key": None,
            "number": None,
            "vectors": {"model": "m"},
        }
    )
    seen = inspect_source(source, {"path": str(tmp_path / "q")})
    assert codes(seen) == ["missing-text"]


ASKED = """
import sys
from qafila.cli import main
sys.argv = ["qafila", "inspect", *sys.argv[1:]]
try:
    main()
except SystemExit as left:
    code = left.code or 0
else:
    code = 0
assert "prefect" not in sys.modules, "prefect was imported"
sys.exit(code)
"""


def ask(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the command in a process of its own; return its exit code and all that it said."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_the_command_needs_nothing_else_and_ends_with_the_verdict(
    database: psycopg.Connection[Any], url: str, tmp_path: Path
) -> None:
    healthy(database)
    code, said = ask("--url", url, "--table", "item")
    assert code == 0
    assert "Nothing was found" in said
    database.execute("UPDATE item SET embedding = NULL, body = '<script>x</script>' WHERE id = 3")
    page = tmp_path / "found.html"
    code, said = ask("--url", url, "--table", "item", "--html", str(page), "--json")
    assert code == 1
    (told,) = json.loads(said)["inspected"]
    assert [f["code"] for f in told["findings"]] == ["null-vectors"]
    assert told["findings"][0]["examples"] == ["3"]
    written = page.read_text()
    assert "null-vectors" in written
    assert "<script" not in written
    assert "http" not in written.split("</style>")[1]
    code, said = ask("--url", url)
    assert code == 1
    assert "public.item" in said


def test_a_password_is_in_no_message() -> None:
    code, said = ask("--url", "postgresql://me:hush-hush@127.0.0.1:9/x", "--table", "t")
    assert code == 4
    assert "hush-hush" not in said


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "give one of"),
        (("--url", "x", "--qdrant", "y"), 2, "give one of"),
        (("--url", "not an address", "--table", "t"), 2, "--url is not an address"),
        (("--qdrant", "/nowhere", "--collection", "c"), 2, "neither an address nor a folder"),
        (("--qdrant", "http://127.0.0.1:9", "--collection", "c"), 4, "does not answer"),
        (("--url", "postgresql://127.0.0.1:9/x"), 4, "does not answer"),
    ],
)
def test_bad_input_is_2_and_silence_is_4(arguments: tuple[str, ...], code: int, told: str) -> None:
    left, said = ask(*arguments)
    assert left == code
    assert told in said


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("a page of somebody else's", r"what answers at http://127\.0\.0\.1:\d+ is no Qdrant"),
        ('{"result": {"coll', "does not answer"),
    ],
)
def test_a_server_that_is_no_qdrant_or_cut_off_is_told(answer: str, told: str) -> None:
    async def hello(request: Request) -> Response:
        return Response(answer, media_type="application/json")

    app = Starlette(routes=[Route("/{path:path}", hello, methods=["GET", "POST"])])
    with (
        in_a_thread(app) as address,
        closing(connect_qdrant(address[: -len("/v1")])) as client,
        pytest.raises(Unavailable, match=told),
    ):
        QdrantInspector(client, local=False).candidates()


def test_a_recorded_connection_is_used_with_its_secret_from_outside(
    database: psycopg.Connection[Any], url: str, ledger: psycopg.Connection[Any], ledger_url: str
) -> None:
    healthy(database)
    record_connection(
        ledger, "old-index", PostgresDatabase(url=url, password=SecretStr("hush-hush"))
    )
    asked = ("--connection", "old-index", "--table", "item")
    code, said = ask(*asked, QAFILA_LEDGER_URL=ledger_url)
    assert code == 1
    assert "QAFILA_SECRET_OLD_INDEX" in said
    code, said = ask(*asked, QAFILA_LEDGER_URL=ledger_url, QAFILA_SECRET_OLD_INDEX="hush-hush")
    assert code == 0, said
    assert "block: old-index" in said
    assert "hush-hush" not in said


def test_a_folder_of_local_mode_is_looked_at_collection_by_collection(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "q"))
    client.create_collection(
        "docs", vectors_config=models.VectorParams(size=WIDTH, distance=models.Distance.DOT)
    )
    client.upsert("docs", points())
    client.close()
    code, said = ask("--qdrant", str(tmp_path / "q"))
    assert code == 0, said
    assert "LangChain (QdrantVectorStore)" in said
