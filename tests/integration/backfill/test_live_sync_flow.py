"""The flow live-sync under a Prefect server: its bar, and how it ends."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from flows.live_sync import LiveSync, live_sync
from qafila.live_sync.apply import Applied, Applier
from qafila.live_sync.drain import drain
from qafila.live_sync.feeder import Fed, feed_all, follow
from qafila.live_sync.outbox_reader import Lag
from qafila.stack import postgres
from tasks.live_sync import share_applied
from tests.support.live import Live, followed


@pytest.fixture
def live(
    pg_server: postgres.Postgres,
    ledger: psycopg.Connection,
    ledger_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Live:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    source_url = postgres.ensure_database(pg_server, f"source_{uuid.uuid4().hex[:8]}")
    live = followed(ledger, source_url, target_url)
    live.load()
    return live


def bar() -> object:
    """Return what the newest progress artifact shows, in percent."""
    with get_client(sync_client=True) as client:
        newest, *_ = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["progress"])),
            sort=ArtifactSort.CREATED_DESC,
            limit=1,
        )
    return newest.data


def change(key: str) -> str:
    return f"UPDATE operation SET body = body || ' more' WHERE operation_id = '{key}'"


@pytest.mark.usefixtures("prefect_server")
def test_a_run_after_a_fail_over_ends_well_and_says_what_to_look_at(live: Live) -> None:
    live.write(change("op-000001"), change("op-000002"))
    drain(live.ledger, live.workload, live.generation)
    with psycopg.connect(live.target_url) as target:  # as a mark of before the fail-over reads
        target.execute("UPDATE qafila.sync_mark SET position = replace(position, ':0000', ':1000')")
    body = live_sync(LiveSync(workload=live.workload.name))
    (fed,) = body["generations"]
    assert fed["applied"]["changes"] == 2
    assert fed["problem"] == ""
    assert "another server or timeline" in fed["note"]
    assert "compare afterwards" in fed["note"]
    assert bar() == 100.0
    again = live_sync(LiveSync(workload=live.workload.name))
    assert again["generations"][0]["note"] == ""


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_could_not_feed_fails_and_its_bar_does_not_say_all(live: Live) -> None:
    live.write(change("op-000001"), "DROP TABLE qafila_outbox_aws_docs_search.outbox CASCADE")
    with pytest.raises(Exception, match="outbox") as failed:
        live_sync(LiveSync(workload=live.workload.name))
    assert not isinstance(failed.value, AssertionError)
    assert bar() == 0.0


def test_what_is_applied_is_told_between_pages(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Applier.__init__.__kwdefaults__
    monkeypatch.setitem(Applier.__init__.__kwdefaults__, "page_changes", 10)
    live.write(*[change(f"op-{n:06}") for n in range(1, 36)])
    heard: list[list[Fed]] = []
    (fed,) = feed_all(live.ledger, live.workload, tell=heard.append, tell_seconds=0.0)
    assert [told[0].applied.changes for told in heard] == [10, 20, 30, 35, 35]
    shares = [share_applied(told) for told in heard]
    assert shares == [10 / 35, 20 / 35, 30 / 35, 1.0, 1.0]
    assert (fed.applied.changes, fed.problem) == (35, "")


def test_rounds_keep_their_distance_while_the_application_writes(live: Live) -> None:
    feed_all(live.ledger, live.workload)
    asked: list[float] = []

    class Enough(Exception):
        pass

    def wait(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 4:
            raise Enough
        for n in range(1, 4):  # there is always something to apply
            live.write(change(f"op-{n:06}"))

    with pytest.raises(Enough):
        follow(live.ledger, live.workload, seconds=1e6, every=50.0, wait=wait)
    assert len(asked) == 4
    assert all(0.0 < seconds <= 50.0 for seconds in asked)
    (fed,) = feed_all(live.ledger, live.workload)
    assert (fed.problem, fed.lag) == ("", Lag(0, 0.0))


def test_a_share_is_only_said_when_it_is_known() -> None:
    fed = Fed(1, Applied(changes=30), Lag(10, 2.0))
    assert share_applied([]) == 1.0
    assert share_applied([fed]) == 0.75
    assert share_applied([fed, Fed(2)]) is None
    assert share_applied([fed, Fed(2, lag=Lag(0, 0.0), problem="a server is away")]) is None
    assert share_applied([fed, Fed(2, elsewhere=True, problem="another process")]) == 0.75
