"""A headless Chromium driven over a pipe: no driver, no port, no library."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe", "--hide-scrollbars"),
)

# The elements whose right edge passes the window's, scrolling regions and their content aside.
OVERFLOW = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg, .sr, .skip')
  && e.getBoundingClientRect().right > innerWidth + 1 && e.getBoundingClientRect().width > 0)
  .map(e => e.tagName + '.' + e.className)"""


class Browser:
    """One page of a browser: open, measure, picture, print; what it asked of the network and said is kept."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("no chromium on this machine: install it to run the tests in a browser")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The protocol reads from descriptor 3 and writes to 4; the shell puts the pipes there.
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, "chromium", program, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers, self._rest = itertools.count(1), b""
        self.events: list[Mapping[str, Any]] = []
        self._session = ""
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """A command and its answer; events that come before it are kept."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(60)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self, seconds: float) -> Any:
        end = time.monotonic() + seconds
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser did not answer")
            got = os.read(self._in, 1 << 16)
            if not got:
                raise RuntimeError("the browser has ended")
            self._rest += got
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path | str, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Load a file or an address at a size; returns once it is loaded."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path if isinstance(path, str) else path.resolve().as_uri())
        self.loaded()

    def loaded(self) -> None:
        """Wait until the page that was asked for is loaded."""
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            self.events.append(self._next(60))

    def go(self, expression: str) -> None:
        """Do something in the page that leads to another, and wait for that."""
        self.events.clear()
        self.run(f"void ({expression})")
        self.loaded()

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def run(self, expression: str) -> Any:
        """The value of an expression in the page (the inspector is not bound by the page's policy)."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, path: Path, *, full: bool = True) -> Path:
        """A PNG of the page, or of the first screen."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def key(self, name: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            code = {"Tab": 9, "Enter": 13}[name]
            extra = {"text": "\r"} if name == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **extra)

    def requests(self) -> list[str]:
        """Every address that was asked for since `open`."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Errors of the console, the policy and the page since `open`."""
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(e["params"]) for e in self.events if e["method"] in kinds]

    def close(self) -> None:
        """End it."""
        os.close(self._out)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser that ends with the block."""
    found = Browser(folder)
    try:
        yield found
    finally:
        found.close()


def painted(opened: Browser) -> list[tuple[str, str, str]]:
    """Each text with its colour and that of the ground it stands on, as the browser computes both."""
    found = opened.run(
        """[...document.querySelectorAll('body *')].filter(e => e.children.length == 0 && e.textContent.trim()
          && !e.closest('svg')).map(e => { let g = e; while (g && ['rgba(0, 0, 0, 0)'].includes(
          getComputedStyle(g).backgroundColor)) g = g.parentElement;
          return [getComputedStyle(e).color, getComputedStyle(g || document.body).backgroundColor, e.textContent] })"""
    )
    return [(_hex(ink), _hex(ground), text) for ink, ground, text in found]


def _hex(colour: str) -> str:
    parts = colour[colour.index("(") + 1 : -1].split(",")[:3]
    return "#" + "".join(f"{int(p):02x}" for p in parts)
