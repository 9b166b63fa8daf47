"""The integrity walk over what a client has kept of answers, for `titanstore check`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from titanstore.check import Problem
from titanstore.clients.bedrock.answers import Answers
from titanstore.clients.bedrock.records import damaged
from titanstore.errors import CorruptionError


def check_answers(folder: Path) -> list[Problem]:
    """Read every answer in a store's folder `answers` once; what is not as it was written.

    A style that cannot be read is listed once, whatever number of answers need it. A writer may
    go on meanwhile. Raises StorageError.
    """
    with closing(Answers(folder, read_only=True, durable=False)) as answers:
        return [
            Problem(kind=error.kind, place=place, message=str(error))
            for place, error in _damage(answers)
        ]


def _damage(answers: Answers) -> Iterator[tuple[str, CorruptionError]]:
    broken: set[int] = set()  # styles
    try:
        for key, record in answers.scan():
            if record is None:
                yield f"answers, key {key!r}", damaged("an answer is not what was written")
            elif record.style not in broken:
                try:
                    answers.style(record.style)
                except CorruptionError as error:
                    broken.add(record.style)
                    yield f"answers, style {record.style}", error
    except CorruptionError as error:  # of LMDB: nothing can be read
        yield "answers", error
