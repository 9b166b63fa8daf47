"""One recording: texts in, answers kept, some asked twice; goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fixtures.titan.recorded import request_digest
from harness.errors import HarnessError
from harness.record.bedrock import LostCallError, ask
from harness.record.budget import Budget
from harness.record.journal import Journal

__all__ = ["Job", "record"]

_LOST_MAX = 3  # calls without an answer, one after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be recorded.

    Attributes
    ----------
    options
        Fields of each request beside the text.
    again
        How many of the first texts are asked a second time, when all were asked once.
    """

    model: str
    texts: Sequence[str]
    options: Mapping[str, Any]
    again: int
    machine: str

    def turns(self) -> list[tuple[str, int]]:
        """Texts with the number of their turn, in order."""
        return [(text, 0) for text in self.texts] + [(text, 1) for text in self.texts[: self.again]]


def record(
    job: Job,
    client: Any,
    journal: Journal,
    budget: Budget,
    *,
    on_answer: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Ask what has no answer yet; returns how many calls were answered.

    Each answer is durable before the next call. Raises as `ask`; HarnessError after 3 calls in a
    row without an answer.
    """
    told = {
        "model": job.model,
        "region": client.meta.region_name,
        "machine": job.machine,
        "host": urlsplit(client.meta.endpoint_url).hostname or "",
    }
    answered = lost = 0
    for text, turn in job.turns():
        request = {"inputText": text, **job.options}
        digest = request_digest(job.model, request)
        if journal.has(digest, turn):
            on_answer()
            continue
        while True:
            common = {**told, "request": request, "digest": digest, "turn": turn}
            unknown = {**common, "tokens": 0, "cost": budget.cost_at_most(text)}
            try:
                with journal.under_way(**unknown, at_s=time.time()):
                    answer = ask(client, job.model, request, budget, sleep=sleep)
            except LostCallError as error:
                lost += 1
                budget.charge_unknown(text)
                journal.keep(b"", **unknown, at_s=time.time())
                if lost == _LOST_MAX:
                    raise HarnessError(
                        f"{lost} calls in a row were not answered ({error}); each counts as billed"
                    ) from error
                continue
            lost = 0
            cost = budget.charge(answer.tokens)
            journal.keep(answer.body, **common, tokens=answer.tokens, cost=cost, at_s=time.time())
            answered += 1
            on_answer()
            break
    return answered
