"""Set the demo's scene: an estate, a bill, a corpus, two services behind Envoy, and traffic."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
from pydantic import SecretStr

from blocks import AwsAccount
from qafila import settings
from qafila.demo.bill import write_bill
from qafila.demo.corpus import CorpusCounts, load_corpus
from qafila.demo.estate import seed_estate
from qafila.demo.wire import write_wire
from qafila.errors import Unavailable
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import apply_workload, newest_generation, open_ledger
from qafila.rollback.rollback import roll_back
from qafila.routers.accepted_addresses import accept_addresses, addresses_of
from qafila.routers.lookup import install_routes
from qafila.stack import ports, state
from qafila.stack.environment import bare_environment, root
from qafila.stack.processes import MARK, Recorded, launch, stop
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from qafila.workload_file import read_file

WORKLOAD = "aws-docs-search"
RATE = 60.0  # requests a second, all users together
LOAD_SECONDS = 1800.0  # the load ends by itself, whatever becomes of the demo
_READY_S = 30.0
_SERVICE_CODE = (
    "qafila/demo/services.py",
    "qafila/search/table.py",
    "qafila/validation/search_service.py",
)


@dataclass(frozen=True)
class Scene:
    """What stands when the story begins."""

    workload: Workload
    corpus: CorpusCounts
    listen_url: str
    candidate_url: str
    candidate_process: Recorded
    load_log: Path

    @property
    def load_statistics(self) -> Path:
        return self.load_log.with_name(self.load_log.name + ".stats.json")


def set_scene(tell: Callable[[str], None]) -> Scene:
    """Prepare everything the story needs on a running stack; safe to call again.

    A promotion of an earlier demo is rolled back first, so that every story begins with the
    keyword service.
    """
    stack = settings.stack_state()
    with psycopg.connect(stack["postgres"]["source_url"], autocommit=True) as source:
        corpus = load_corpus(source)
    tell(f"corpus    {corpus.documents} documents, {corpus.queries} real queries")
    starting = {
        "baseline": start_service("baseline"),
        "candidate": start_service("candidate", "--breakable"),
    }
    seed_account(stack["moto"]["url"])  # meanwhile the services come up
    for service in starting.values():
        wait_until_ready(service)
    baseline, candidate = starting["baseline"].url, starting["candidate"].url
    os.environ["QAFILA_VAR_DEMO_BASELINE_URL"] = baseline
    os.environ["QAFILA_VAR_DEMO_CANDIDATE_URL"] = candidate
    workload = read_file(root() / "workloads" / f"{WORKLOAD}.yaml")
    with open_ledger() as ledger:
        before = newest_generation(ledger, workload.name)
        if before is not None and before.phase == Phase.PROMOTED:
            outcome = roll_back(ledger, workload.name, "the demo starts from the keyword service")
            tell(f"before    generation {before.number} rolled back: {outcome.sentence}")
        accept_addresses(ledger, workload, addresses_of(workload))
        install_routes(ledger, workload).close()
        apply_workload(ledger, workload)
    httpx.post(f"{candidate}/_demo/break", json={}, timeout=5).raise_for_status()
    log = settings.home() / "demo" / "load.jsonl"
    start_load(stack["envoy"]["listen_url"], stack["postgres"]["source_url"], log)
    return Scene(
        workload,
        corpus,
        stack["envoy"]["listen_url"],
        candidate,
        starting["candidate"].process,
        log,
    )


def seed_account(moto_url: str) -> None:
    """Fill the AWS account, store the reader's keys, write its bill, its logs and its code."""
    estate = seed_estate(moto_url)
    account = AwsAccount(
        regions=list(estate.regions),
        endpoint_url=moto_url,
        access_key_id=estate.access_key_id,
        secret_access_key=SecretStr(estate.secret_access_key),
    )
    account.save("demo-aws", overwrite=True)
    with open_ledger() as ledger:
        record_connection(ledger, "demo-aws", account)
    now, folder = datetime.now(UTC), settings.home() / "demo"
    write_bill(folder / "bill.csv", estate, now.date())
    write_wire(folder, estate, now)
    place_code(folder / "code")


def place_code(folder: Path) -> None:
    """Put the code of the search service where the audit looks for vendors' APIs in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _SERVICE_CODE:
        shutil.copyfile(root() / name, folder / Path(name).name)


@dataclass(frozen=True)
class Started:
    """One arm of the service as it was started: its address, process and log."""

    url: str
    process: Recorded
    log: Path


def start_service(arm: str, *more: str) -> Started:
    """Start one arm of the service, or find the one that runs; do not wait for it."""
    section = settings.stack_state().get("services", {}).get(arm, {})
    log = settings.home() / "logs" / f"{arm}.log"
    record = Recorded.read(section)
    if record is not None and record.alive:
        return Started(str(section["url"]), record, log)
    port = _free_port(section.get("port"))
    url = f"http://127.0.0.1:{port}"
    process = launch(
        [sys.executable, "-m", "qafila.demo.services", arm, "--port", str(port), *more],
        log=log,
        env=_environment(),
        cwd=root(),
    )
    state.record_service(arm, process, url=url, port=port)
    return Started(url, process, log)


def wait_until_ready(service: Started) -> None:
    """Wait until a service answers.

    Raises:
        Unavailable: it ended, or did not answer in time; names its log.
    """
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and service.process.alive:
        try:
            httpx.get(f"{service.url}/health", timeout=2)
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        return
    raise Unavailable(
        f"the service at {service.url} did not become ready.",
        kept="the stack.",
        remedy=f"read {service.log}, then: qafila down",
    )


def start_load(url: str, source_url: str, log: Path) -> None:
    """Start the users: open-loop traffic on the real queries, bounded in rate and time."""
    stop_load()
    log.parent.mkdir(parents=True, exist_ok=True)
    for old in (log, log.with_name(log.name + ".stats.json")):
        old.unlink(missing_ok=True)
    process = launch(
        [
            sys.executable,
            "-m",
            "qafila.demo.load",
            "--url",
            url,
            "--rate",
            str(RATE),
            "--seconds",
            str(LOAD_SECONDS),
            "--queries-from",
            source_url,
            "--log",
            log,
        ],
        log=settings.home() / "logs" / "load.log",
        env=_environment(),
        cwd=root(),
    )
    state.record_service("load", process)


def stop_load() -> None:
    """Let the users go home; the last statistics are written first."""
    record = state.services().get("load")
    if record is not None:
        process = record.process()
        if process is not None:
            stop([process], patience_s=5)
        state.forget_service("load")


def _environment() -> dict[str, str]:
    """Return what a service of the demo and its users need: no secret of the operator."""
    return bare_environment(QAFILA_HOME=str(settings.home()), **{MARK: state.mark()})


def _free_port(remembered: int | None) -> int:
    if remembered is not None and ports.is_free(remembered):
        return remembered
    taken = settings.stack_state().get("ports", {})
    services = settings.stack_state().get("services", {})
    taken = {**taken, **{n: s["port"] for n, s in services.items() if "port" in s}}
    return ports.another(taken)
