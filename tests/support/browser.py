"""A real browser for a test: headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_START_S = 60
_KEYS = {"Tab": 9, "Enter": 13, " ": 32}


class Page:
    """One open page."""

    def __init__(self, wire: ClientConnection) -> None:
        self._wire = wire
        self._numbers = count(1)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._wire.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self._wire.recv(timeout=_START_S))
            if told.get("id") == number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    def open(self, path: Path) -> None:
        self.call("Page.navigate", url=path.as_uri())
        while self.ask("document.readyState + location.protocol") != "completefile:":
            time.sleep(0.05)

    def ask(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key as a person does; a held element gets it, and the browser acts on it."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=_KEYS[key],
                **typed,
            )

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def picture(self, to: Path, width: int = 1200, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        to.write_bytes(b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browsing(home: Path) -> Iterator[Page]:
    """Start a browser with a profile of its own in ``home``; skip where there is none."""
    program = next((p for n in _NAMES if (p := shutil.which(n))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    profile = home / "profile"
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with (home / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                "--headless=new",
                *as_root,
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-extensions",
                "--disable-background-networking",
                "--remote-debugging-port=0",
                "--remote-allow-origins=*",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        with connect(_address(profile, process), max_size=None, proxy=None) as wire:
            browser = Page(wire)
            target = browser.call("Target.createTarget", url="about:blank")["targetId"]
            base = wire.remote_address
            with connect(
                f"ws://{base[0]}:{base[1]}/devtools/page/{target}", max_size=None, proxy=None
            ) as tab:
                yield Page(tab)
            browser.call("Browser.close")
        process.wait(timeout=_START_S)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=_START_S)


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Return where the browser listens: it writes port and path into its profile."""
    told = profile / "DevToolsActivePort"
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        lines = told.read_text().split() if told.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    pytest.fail(
        f"the browser did not start: {(profile.parent / 'browser.log').read_text()[-2000:]}"
    )
