"""Driving a real Chromium by its DevTools protocol over two pipes: no driver program, no package.

Source: the DevTools protocol, "--remote-debugging-pipe": JSON messages that end with a zero byte,
commands to descriptor 3 of the browser, answers and events from its descriptor 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Browser", "Page", "find_chromium", "pages_of"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # root has no sandbox; the pages are ours and load nothing
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-pipe",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)
_TIMEOUT_S = 120.0  # for one answer: a busy machine is slow, and a hung browser is none of ours


def find_chromium() -> str | None:
    """The program of a Chromium, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """A headless browser with a profile of its own; `with` ends it. One thread at a time."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._number = 0
        self._events: list[dict[str, Any]] = []
        self._rest = b""

    def __enter__(self) -> Self:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()

        def hand_over() -> None:  # in the child, before exec
            # both out of the way first: either may be 3 or 4 itself
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (to_read, to_write)]
            for place, fd in enumerate(high, start=3):
                os.dup2(fd, place)
                os.close(fd)

        self._process = subprocess.Popen(
            [self._program, *_ARGUMENTS, f"--user-data-dir={self._profile.name}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=hand_over,
            close_fds=False,  # all others are closed at exec anyway
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._profile.cleanup()

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; raises RuntimeError if it is an error."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            answer = self._next(deadline)
            if answer.get("id") != self._number:
                self._events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            else:
                result: dict[str, Any] = answer["result"]
                return result

    def events(self, method: str, session: str) -> list[dict[str, Any]]:
        """Parameters of the events of a name so far, in order."""
        return [
            one["params"]
            for one in self._events
            if one.get("method") == method and one.get("sessionId") == session
        ]

    def wait_for(self, method: str, session: str, already: int) -> None:
        """Until there are more events of that name than `already`."""
        deadline = time.monotonic() + _TIMEOUT_S
        while len(self.events(method, session)) <= already:
            self._events.append(self._next(deadline))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], deadline - time.monotonic())
            piece = os.read(self._read, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("the browser ended" if ready else "the browser does not answer")
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def page(self) -> Page:
        """A new empty page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session)


class Page:
    """One page of a browser: size, colours, keys, pictures, what it asked for and complained of."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def open(self, file: Path) -> None:
        """Load a file and wait until it is there."""
        loaded = len(self._browser.events("Page.loadEventFired", self._session))
        self._call("Page.navigate", url=file.resolve().as_uri())
        self._browser.wait_for("Page.loadEventFired", self._session, loaded)

    def resize(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """The size of the window, in CSS pixels."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=is_phone,
        )

    def prefer(self, scheme: str, *, media: str = "") -> None:
        """ "light" or "dark"; `media` "print" shows it as on paper."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", media=media, features=features)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, which must be plain data."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release "Tab" or "Enter"."""
        code = {"Tab": 9, "Enter": 13}[key]
        text: Mapping[str, str] = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    def accessible(self) -> list[dict[str, Any]]:
        """The accessibility tree, as a screen reader gets it: nodes that are not ignored."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [node for node in nodes if not node.get("ignored")]

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """Save what it looks like as PNG."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        """As it prints on A4, with the page's own margins."""
        answer = self._call(
            "Page.printToPDF",
            paperWidth=8.27,
            paperHeight=11.69,
            preferCSSPageSize=True,
            printBackground=False,  # the usual choice of a print dialogue
        )
        return base64.b64decode(answer["data"])

    @property
    def requests(self) -> list[str]:
        """Every address that was asked for."""
        seen = self._browser.events("Network.requestWillBeSent", self._session)
        return [one["request"]["url"] for one in seen]

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, scripts that failed, policies that were broken."""
        thrown = self._browser.events("Runtime.exceptionThrown", self._session)
        logged = self._browser.events("Log.entryAdded", self._session)
        said = self._browser.events("Runtime.consoleAPICalled", self._session)
        return [
            *(str(one["exceptionDetails"]) for one in thrown),
            *(str(one["entry"]["text"]) for one in logged),
            *(str(one["args"]) for one in said if one["type"] in ("error", "warning", "assert")),
        ]


def pages_of(pdf: bytes) -> int:
    """How many pages a PDF of Chromium has: its page objects are not compressed."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
