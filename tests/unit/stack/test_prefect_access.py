"""Which string the Prefect server of a home asks for, and where its clients find it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from qafila.errors import Unavailable
from qafila.home_keys import key_path
from qafila.stack.environment import bare_environment, environment, prefect_variables
from qafila.stack.prefect_access import (
    VARIABLE,
    ask,
    choose_login,
    recorded_login,
    server_variables,
)

API = "http://127.0.0.1:18001/api"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def started_with(home: Path, origin: str | None) -> None:
    section = {"api_url": API} if origin is None else {"api_url": API, "auth": origin}
    (home / "stack.json").write_text(json.dumps({"prefect": section}))


def test_a_home_makes_one_string_and_its_clients_find_it(home: Path) -> None:
    login = choose_login()
    assert login == choose_login()
    assert login.text == f"qafila:{key_path('prefect-api').read_text().strip()}"
    started_with(home, login.origin)
    assert recorded_login() == login
    assert prefect_variables(API, login)[VARIABLE] == login.text
    assert server_variables(API, login)["PREFECT_SERVER_API_AUTH_STRING"] == login.text
    assert login.text not in repr(login)


def test_the_operators_own_string_is_respected(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "admin:of the operator")
    login = choose_login()
    assert login.text == "admin:of the operator"
    started_with(home, login.origin)
    assert recorded_login() == login
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(Unavailable, match=f"{VARIABLE}, which is not set here"):
        recorded_login()


def test_a_string_for_another_server_does_not_stand_in_for_this_homes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = choose_login()
    started_with(home, own.origin)
    monkeypatch.setenv(VARIABLE, "admin:of another server")
    assert recorded_login() == own
    monkeypatch.setenv(VARIABLE, own.text)  # as a command of ours hands it to its children
    assert choose_login() == own


def test_a_server_of_an_earlier_release_asks_for_nothing(home: Path) -> None:
    started_with(home, None)
    assert recorded_login() is None
    assert VARIABLE not in prefect_variables(API, None)


def test_a_key_that_is_gone_is_named(home: Path) -> None:
    started_with(home, choose_login().origin)
    key_path("prefect-api").unlink()
    with pytest.raises(Unavailable, match="is gone"):
        recorded_login()


def test_a_run_gets_what_it_may_need_and_no_other_secret(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "PYTHONPATH",
        "PREFECT_LOGGING_LEVEL",
        "QAFILA_SECRET_DOCS",
        "QAFILA_VAR_X",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "https_proxy",
        "NO_PROXY",
        "AWS_PROFILE",
        "AWS_SECRET_ACCESS_KEY",
        "KUBECONFIG",
        "KUBERNETES_SERVICE_HOST",
        "PGSSLMODE",
        "PGPASSFILE",
    ]
    foreign = ["GITHUB_TOKEN", "OPENAI_API_KEY", "MY_PASSWORD", "SSH_AUTH_SOCK", "PREFECT_API_KEY"]
    for name in [*needed, *foreign]:
        monkeypatch.setenv(name, f"value of {name}")
    given = environment(API, "mark", None)
    assert {n for n in needed if given.get(n) != f"value of {n}"} == set()
    assert set(foreign) & set(given) == set()
    assert given["QAFILA_HOME"] == str(home)
    monkeypatch.setenv("QAFILA_RUN_VARIABLES", "MY_PASSWORD, OPENAI_API_KEY,,PREFECT_API_KEY")
    named = environment(API, "mark", None)
    assert set(named) - set(given) == {"MY_PASSWORD", "OPENAI_API_KEY", "QAFILA_RUN_VARIABLES"}
    assert "MY_PASSWORD" not in bare_environment()  # programs that run no flow are given neither


class HangsUp(BaseHTTPRequestHandler):
    """Answers the first request of a connection, and closes at the next without an answer.

    A busy Prefect server does so: Uvicorn's keep-alive time ends before it reads the request.
    """

    protocol_version = "HTTP/1.1"
    answered = False

    def do_GET(self) -> None:
        if self.answered:
            self.close_connection = True
            return
        self.answered = True
        body = json.dumps({"token": uuid.uuid4().hex}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hanging_up() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), HangsUp)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_that_closes_kept_connections_is_still_asked(home: Path, hanging_up: str) -> None:
    for _ in range(3):
        assert ask(hanging_up, "POST", "/flow_runs/filter", {}).status_code == 200
