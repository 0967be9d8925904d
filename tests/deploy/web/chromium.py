"""Headless Chromium, driven by the DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from seqkd.deploy.web.page import write_page
from seqkd.errors import ConfigError

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
    "--autoplay-policy=no-user-gesture-required",
]
PATIENCE = 60  # seconds


class Page:
    """One tab. ``problems`` are errors on its console and exceptions; ``requests`` are addresses that it asked for."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._held, self._id = read, write, b"", 0
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = None
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and return its result."""
        self._id += 1
        message: dict[str, Any] = {"id": self._id, "method": method, "params": params}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._id:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            assert select.select([self._read], [], [], PATIENCE)[0], "Chromium does not answer"
            self._held += os.read(self._read, 1 << 20)
        raw, _, self._held = self._held.partition(b"\0")
        event = json.loads(raw)
        params, method = event.get("params", {}), event.get("method")
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.problems.append(json.dumps(params["args"]))
        return event

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        begin = time.monotonic()
        while not self.run(condition):
            status = self.run("document.getElementById('status')?.textContent")
            assert time.monotonic() - begin < PATIENCE, (condition, status, self.problems)
            time.sleep(0.05)

    def open(self, index: Path | str) -> None:
        """Open a page and wait until its model is there."""
        self.send("Page.navigate", url=index.as_uri() if isinstance(index, Path) else index)
        self.wait("document.documentElement?.dataset.state === 'ready'")

    def give(self, file: Path) -> None:
        """Choose a file, and wait until it is done."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.run("document.documentElement.dataset.state = 'ready'")
        self.send("DOM.setFileInputFiles", files=[str(file.resolve())], nodeId=node)
        self.wait("['done', 'error'].includes(document.documentElement?.dataset.state)")

    def look(self, path: Path, width: int, height: int, dark: bool = False) -> None:
        """Write a picture of the whole page."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        time.sleep(0.3)
        picture = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))


def page_of(export: Path, out: Path) -> Path:
    """The page of an export, written to ``out``; skips the test where there is no Chromium, or no runtime for it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    try:
        write_page(export, out)
    except ConfigError as error:
        pytest.skip(str(error))
    return out / "index.html"


@contextlib.contextmanager
def browser(profile: Path, flags: Sequence[str] = ()) -> Iterator[Page]:
    """Start Chromium with an empty ``profile``, and end it."""
    assert CHROMIUM is not None
    ours, theirs = os.pipe(), os.pipe()
    # Chromium reads from 3 and writes to 4: what is passed on must have other numbers.
    read, write = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (ours[0], theirs[1]))
    shell = f'exec "$0" "$@" 3<&{read} 4>&{write}'
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", shell, *command], pass_fds=(read, write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for fd in (read, write, ours[0], theirs[1]):
        os.close(fd)
    try:
        yield Page(theirs[0], ours[1])
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(theirs[0])
        os.close(ours[1])
