"""Letting answers go: by age, by model, by size; and from one model to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from titanstore.clients.bedrock.batches import Warmed
from titanstore.clients.bedrock.cache import AnswerCache
from titanstore.clients.bedrock.embedder import Embedder
from titanstore.clients.bedrock.requests import MODELS, checked_model
from titanstore.errors import ErrorKind, InvalidInputError

_AT_ONCE = 1_000  # keys in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What `prune` did, in answers.

    Attributes
    ----------
    removed
        Answers that went, their vectors with them; damaged ones always go.
    in_documents
        Answers that would have gone, had no document of the store had their vectors.
    left
        Answers that the store still has.
    """

    removed: int
    in_documents: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What `move` did.

    Attributes
    ----------
    warmed
        What the new model answered.
    removed
        Answers of the old model that went: none unless `warmed.is_complete`.
    """

    warmed: Warmed
    removed: int


class _Seen(NamedTuple):
    created_s: int
    key: str
    nbytes: float


def prune(
    cache: AnswerCache,
    *,
    now_s: float,
    older_than_s: float | None,
    model: str | None,
    bytes_max: int | None,
) -> Pruned:
    """As `Titan.prune`."""
    if older_than_s is None and model is None and bytes_max is None:
        raise InvalidInputError(
            "prune by age, model or size: give older_than_s, model or bytes_max",
            ErrorKind.BAD_SETTING,
        )
    for name, value in (("older_than_s", older_than_s), ("bytes_max", bytes_max)):
        if value is not None and not value >= 0:
            raise InvalidInputError(f"{name} is 0 or more, got {value}", ErrorKind.BAD_SETTING)
    number = None if model is None else MODELS.index(checked_model(model))
    each_bytes = _vector_bytes(cache)
    go: list[_Seen] = []
    stay: list[_Seen] = []
    for key, record in cache.answers.scan():
        if record is None:  # damaged: it answers nobody, and must not keep the others
            go.append(_Seen(0, key, each_bytes))
            continue
        is_of_model = number is None or record.model == number
        is_old = older_than_s is None or now_s - record.created_s > older_than_s
        is_named = (number is not None or older_than_s is not None) and is_of_model and is_old
        seen = _Seen(record.created_s, key, each_bytes + len(record.verbatim))
        (go if is_named else stay).append(seen)
    if bytes_max is not None:
        stay.sort(reverse=True)  # the newest first
        total = 0.0
        for place, seen in enumerate(stay):
            total += seen.nbytes
            if total > bytes_max:
                go += stay[place:]
                del stay[place:]
                break
    removed, in_documents = _remove(cache, [seen.key for seen in go])
    return Pruned(removed=removed, in_documents=in_documents, left=len(stay) + in_documents)


def move(
    cache: AnswerCache,
    texts: Sequence[str],
    old: Embedder,
    new: Embedder,
    *,
    parallel: int,
    progress: Callable[[int], None] | None,
) -> Moved:
    """As `Titan.move`."""
    if old.request("any").key == new.request("any").key:
        raise InvalidInputError(
            "old and new are the same model with the same options", ErrorKind.BAD_SETTING
        )
    texts = list(texts)
    done = new.warm(texts, parallel=parallel, progress=progress)
    # what could not be written, or was pruned meanwhile, is not there although it was answered
    is_whole = done.is_complete and all(map(new.has, texts))
    keys = [old.key(text) for text in dict.fromkeys(texts)] if is_whole else []
    removed, _ = _remove(cache, [key for key in keys if cache.is_answered(key)])
    return Moved(warmed=done, removed=removed)


def _vector_bytes(cache: AnswerCache) -> float:
    """What a vector of the store takes on average, with its share of all that is on the disk."""
    stats = cache.store.stats()
    count = max(1, stats.vectors)
    return (stats.disk_bytes - stats.dead_bytes + cache.answers.file_bytes()) / count


def _remove(cache: AnswerCache, keys: Sequence[str]) -> tuple[int, int]:
    """Remove answers but those whose vectors documents have; counts of both."""
    wanted = dict.fromkeys(keys)
    store = cache.store
    for document in store.documents() if wanted else ():
        for key in store.document_keys(document):
            wanted.pop(key, None)
    go = list(wanted)
    removed = sum(
        cache.forget(go[first : first + _AT_ONCE]) for first in range(0, len(go), _AT_ONCE)
    )
    return removed, len(keys) - len(go)
