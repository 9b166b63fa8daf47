"""Titan over HTTP with trouble put in, and what records from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from fixtures.titan.answers import Answer, EmulatedTitan
from fixtures.titan.wire import Wire
from harness.cli import main
from harness.record.bedrock import bedrock_runtime
from harness.record.run import Job

V2 = "amazon.titan-embed-text-v2:0"
SECRET = "wJalrXUtnFEMI"
TEXTS = [f"a private line number {number}" for number in range(6)]


class Service:
    """The emulator, with trouble that a test puts in; remembers how often it answered."""

    def __init__(self) -> None:
        self.titan = EmulatedTitan()
        self.trouble: Callable[[int], None] = lambda call: None
        self.change: Callable[[int, bytes], bytes] = lambda call, body: body
        self.calls = 0
        self.sent: list[bytes] = []

    def answer(self, model_id: str, body: bytes) -> Answer:
        self.calls += 1
        self.trouble(self.calls)
        found = self.titan.answer(model_id, body)
        changed = Answer(body=self.change(self.calls, found.body), token_count=found.token_count)
        self.sent.append(changed.body)
        return changed


def harness(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(main, [str(word) for word in words])
    assert SECRET not in found.output
    assert "private line" not in found.output
    return found.exit_code, found.output


def words_of(wire: Wire, texts: Path, folder: Path, usd: float = 1, **more: object) -> list[object]:
    words: list[object] = ["record", "--live", "--model", V2, "--budget-usd", f"{usd:.12f}"]
    words += ["--texts", texts, "--folder", folder, "--endpoint-url", wire.url]
    words += ["--region", "us-west-2", "--again", 2]
    return words + [word for name, value in more.items() for word in (f"--{name}", value)]


def job_of(count: int = 6, again: int = 0, model: str = V2) -> Job:
    return Job(model=model, texts=TEXTS[:count], options={}, again=again, machine="m")


def client_of(wire: Wire) -> Any:
    return bedrock_runtime("us-west-2", wire.url)
