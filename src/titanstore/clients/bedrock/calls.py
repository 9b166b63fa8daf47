"""The way from a call to its answer: look in the store, else call once for all who ask, keep.

Keys that the rollout leaves to the model are called for as without a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

from titanstore.clients.bedrock.bodies import Embedded, read_body
from titanstore.clients.bedrock.cache import AnswerCache, Fresh
from titanstore.clients.bedrock.counters import Tally
from titanstore.clients.bedrock.flights import Flights
from titanstore.clients.bedrock.requests import TitanRequest
from titanstore.clients.bedrock.responses import Sent, kept_response, taken
from titanstore.clients.bedrock.shadow import Shadow
from titanstore.errors import AnswerError, ErrorKind
from titanstore.rollout import is_rolled_out

Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Made:
    """What one call of the model gave."""

    response: Any  # of a shape that nobody knows; `sent` is None then
    sent: Sent | None
    embedded: Embedded | None  # None: no vector in it


class Landed(NamedTuple):
    """An answer, and whether it was called for."""

    kept: Any
    made: Made | None


class Calls:
    """Calls of one client through one cache. Any thread may use it."""

    def __init__(self, call: Call, cache: AnswerCache, tally: Tally) -> None:
        self._call = call
        self._cache = cache
        self._tally = tally
        self._flights: Flights[Landed] = Flights()
        self._is_past: ContextVar[bool] = ContextVar("past_cache", default=False)
        config = cache.store.config
        self._percent = config.rollout_percent
        self._shadow = Shadow(cache, tally) if config.shadow else None

    @contextmanager
    def past_cache(self) -> Iterator[None]:
        """In this block, of this thread or task, nothing is read from the store."""
        token = self._is_past.set(True)
        try:
            yield
        finally:
            self._is_past.reset(token)

    @property
    def is_past(self) -> bool:
        """Is this inside `past_cache`?"""
        return self._is_past.get()

    def is_answered(self, request: TitanRequest) -> bool:
        """Is this request answered from the store, if that has the answer, here and now?"""
        return not self._is_past.get() and is_rolled_out(request.key, self._percent)

    def response(self, request: TitanRequest, arguments: Mapping[str, Any]) -> Any:
        """What `invoke_model` returns for an embedding; raises what it raises."""
        landed = self._landed(request, arguments)
        if landed.made is not None:
            made = landed.made
            return made.response if made.sent is None else made.sent.response()
        return kept_response(
            landed.kept.envelope,
            landed.kept.body,
            key=request.key,
            token_count=landed.kept.token_count,
            created_s=landed.kept.created_s,
        )

    def embedded(
        self, request: TitanRequest, arguments: Mapping[str, Any], *, to_fill: bool = False
    ) -> tuple[Embedded, bytes]:
        """What the answer says, and its body; raises what `invoke_model` and its body raise.

        `to_fill`: the store is to have it, whatever the rollout says.

        Raises
        ------
        AnswerError
            NO_VECTOR.
        """
        landed = self._landed(request, arguments, to_fill=to_fill)
        body, found = b"", None
        if landed.made is None:
            body = landed.kept.body
            found = read_body(body, request.dimension)
        elif landed.made.sent is not None:
            if landed.made.sent.error is not None:
                raise landed.made.sent.error
            body, found = landed.made.sent.body, landed.made.embedded
        if found is None:
            raise AnswerError(
                f"{request.model} answered without a vector of {request.dimension} finite values; "
                "nothing was stored",
                ErrorKind.NO_VECTOR,
            )
        return found, body

    def _landed(
        self, request: TitanRequest, arguments: Mapping[str, Any], *, to_fill: bool = False
    ) -> Landed:
        if self.is_past:
            self._tally.add("past")
            return Landed(None, self._make(request, arguments))
        if not to_fill and not is_rolled_out(request.key, self._percent):
            self._tally.add("outside")
            return Landed(None, self._make(request, arguments, is_outside=True))
        found = self._cache.answer(request)
        if found is None:
            # by what the caller writes for the model too: he may call one and not the other
            flight = (request.key, arguments.get("modelId"))
            landed, is_ours = self._flights.do(flight, lambda: self._fly(request, arguments))
            if is_ours:
                if landed.made is None:
                    self._tally.add("hits", landed.kept.token_count)
                return landed
            if landed.made is not None and landed.made.sent is None:
                return Landed(None, self._make(request, arguments))  # it can be read but once
            tokens = self._tokens(landed)
            self._tally.add("shared", tokens)
            return landed
        self._tally.add("hits", found.token_count)
        return Landed(found, None)

    def _fly(self, request: TitanRequest, arguments: Mapping[str, Any]) -> Landed:
        # the call of another thread may have ended between our look and our turn
        found = self._cache.answer(request, is_second_look=True)
        if found is not None:
            return Landed(found, None)
        return Landed(None, self._make(request, arguments))

    @staticmethod
    def _tokens(landed: Landed) -> int | None:
        if landed.made is None:
            count: int | None = landed.kept.token_count
            return count
        return None if landed.made.embedded is None else landed.made.embedded.token_count

    def _make(
        self, request: TitanRequest, arguments: Mapping[str, Any], *, is_outside: bool = False
    ) -> Made:
        response = self._call(**arguments)
        sent = taken(response)
        embedded = None
        if sent is not None and sent.error is None:
            embedded = read_body(sent.body, request.dimension)
        self._tally.add("calls", None if embedded is None else embedded.token_count)
        envelope = None if sent is None else sent.envelope()
        if sent is None or embedded is None or envelope is None:
            self._tally.add("refused")
        elif not is_outside or self._is_to_keep(request, embedded, sent.body):
            self._cache.keep(Fresh(request, embedded, envelope, sent.body))
        return Made(response, sent, embedded)

    def _is_to_keep(self, request: TitanRequest, embedded: Embedded, body: bytes) -> bool:
        """For a key that is left to the model: is it looked at, and not kept like this already?"""
        return self._shadow is not None and not self._shadow.agrees(request, embedded, body)

    def leave_parent(self) -> None:
        """In a forked child: other threads' calls are the parent's."""
        self._flights.leave_parent()
