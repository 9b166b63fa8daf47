"""A `bedrock-runtime` client that answers Titan embeddings from a store."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from titanstore.clients.bedrock.aio import AsyncTitan
from titanstore.clients.bedrock.cache import AnswerCache
from titanstore.clients.bedrock.calls import Calls
from titanstore.clients.bedrock.counters import ClientCounters, Tally
from titanstore.clients.bedrock.embedder import Embedder
from titanstore.clients.bedrock.requests import TitanRequest, checked_model, request_of
from titanstore.clients.bedrock.upkeep import Moved, Pruned, move, prune
from titanstore.store import EmbeddingStore

_titans: weakref.WeakSet[Titan] = weakref.WeakSet()


def _in_forked_child() -> None:
    for titan in list(_titans):
        titan._calls.leave_parent()  # noqa: SLF001  # this module's own class


os.register_at_fork(after_in_child=_in_forked_child)


def wrap(
    client: Any,
    store: EmbeddingStore,
    *,
    models: Mapping[str, str] | None = None,
    by_region: bool = False,
    clock: Callable[[], float] = time.time,
) -> Any:
    """A client that looks in a store before it asks Titan, and keeps what Titan answered.

    Parameters
    ----------
    client
        `boto3.client("bedrock-runtime")`. Its retries, timeouts and credentials stay its own.
    store
        Stays yours to close. One that is read-only answers and keeps nothing; one that fails is
        passed over: calls go to Titan, `client.titan.counters` counts it, and the first error of
        each kind is logged. Its settings `rollout_percent` and `shadow` say for which keys it
        answers, and what becomes of the others; both are read here, once.
    models
        Model id by the ids and ARNs that you write for it: provisioned throughput, inference
        profiles. Ids of models and ARNs of foundation models are known.
    by_region
        Keep the answers of each region apart. Regions serve a model with other last bits.
    clock
        Unix time, seconds: when an answer was kept.

    Returns
    -------
    object
        Everything of `client`, and an instance of its class; but `invoke_model` for a Titan
        embedding answers from the store if it can, with the bytes that Titan sent, and
        `client.titan` is a `Titan`. Any thread may use it.

    Raises
    ------
    InvalidInputError
        NOT_TITAN: `models` leads to something else.

    Notes
    -----
    botocore's event hooks see only the calls that are made. The body of an answer is read before
    `invoke_model` returns; an error on the way is raised where the body is read, as ever.
    """
    known = {name: checked_model(model) for name, model in (models or {}).items()}
    return WrappedClient(client, Titan(client, store, known, by_region=by_region, clock=clock))


class Titan:
    """What a wrapped client offers beside Bedrock's own calls: `client.titan`.

    Attributes
    ----------
    aio
        The same for asyncio.
    """

    def __init__(
        self,
        client: Any,
        store: EmbeddingStore,
        models: Mapping[str, str],
        *,
        by_region: bool,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._models = models
        self._region = str(client.meta.region_name) if by_region else None
        self._tally = Tally()
        self._cache = AnswerCache(store, self._tally, clock)
        self._clock = clock
        # looked up at each call: somebody may put another one there, to trace calls for instance
        self._calls = Calls(lambda **given: client.invoke_model(**given), self._cache, self._tally)
        self.aio = AsyncTitan(self)
        _titans.add(self)

    def invoke_model(self, *positional: Any, **arguments: Any) -> Any:
        """`invoke_model` of the client, from the store where it can be. Raises what it raises."""
        request, arguments = (None, arguments) if positional else self._request_of(arguments)
        if request is None:
            self._tally.add("passed")
            return self._client.invoke_model(*positional, **arguments)
        return self._calls.response(request, arguments)

    def key(self, **arguments: Any) -> str | None:
        """The key by which `invoke_model` of these arguments is kept; None if it never is."""
        request, _ = self._request_of(arguments)
        return None if request is None else request.key

    def embedder(self, model_id: str, **options: Any) -> Embedder:
        """A model with its options, to embed texts by: vectors in, no JSON.

        Parameters
        ----------
        model_id
            As for `invoke_model`.
        options
            Fields of the request beside the text: `dimensions=512, normalize=True`.

        Raises
        ------
        InvalidInputError
            NOT_TITAN; BAD_SETTING for dimensions that are no number.
        """
        return Embedder(
            self._calls,
            self._cache,
            self._tally,
            model_id,
            options,
            models=self._models,
            region=self._region,
        )

    @property
    def connections(self) -> int:
        """Connections that the client may have open: more calls at a time wait for each other."""
        return int(self._client.meta.config.max_pool_connections)

    def past_cache(self) -> AbstractContextManager[None]:
        """In a `with` block, of this thread or task: ask Titan, whatever the store has.

        The new answer takes the place of the old one.
        """
        return self._calls.past_cache()

    @property
    def counters(self) -> ClientCounters:
        """What happened since the client was wrapped."""
        return self._tally.snapshot()

    def prune(
        self,
        *,
        older_than_s: float | None = None,
        model: str | None = None,
        bytes_max: int | None = None,
    ) -> Pruned:
        """Remove kept answers and their vectors. `store.maintain()` then gives the space back.

        Parameters
        ----------
        older_than_s
            Those kept longer ago.
        model
            Those of this model; together with `older_than_s`, those that are both.
        bytes_max
            Of what is left, the oldest, until the rest takes at most this much: each at the
            average of all vectors of the store, plus its body where that is kept verbatim.

        Returns
        -------
        Pruned
            A vector that is in a document is never removed, nor is one that was not kept by a
            client. Damaged answers always go. Cost: one pass over all answers and all keys of
            documents, about 100 bytes of memory an answer.

        Raises
        ------
        InvalidInputError
            BAD_SETTING, NOT_TITAN.
        ReadOnlyError, StorageError, CorruptionError, ClosedError
        """
        return prune(
            self._cache,
            now_s=self._clock(),
            older_than_s=older_than_s,
            model=model,
            bytes_max=bytes_max,
        )

    def move(
        self,
        texts: Sequence[str],
        old: Embedder,
        new: Embedder,
        *,
        parallel: int = 8,
        progress: Callable[[int], None] | None = None,
    ) -> Moved:
        """From one model, or set of options, to another, without a cold start.

        Asks the new one for every text that it has not answered yet. The old answers of these
        texts go only when the store has every new one, so either model answers meanwhile, and
        after an error or a crash the same call goes on where it stopped.

        Parameters
        ----------
        texts
            All texts that the old model was asked for; the store knows only their keys.
        progress
            As for `Embedder.warm`.

        Raises
        ------
        InvalidInputError
            BAD_SETTING: `old` and `new` are the same.
        ReadOnlyError, StorageError, CorruptionError, ClosedError
            The old answers could not be removed.
        """
        return move(self._cache, texts, old, new, parallel=parallel, progress=progress)

    def close(self) -> None:
        """Give up what is open beside the store and the client; idempotent.

        The client then calls for everything, as does one whose store is closed.
        """
        self.aio.close()
        self._cache.close()

    def _request_of(self, arguments: dict[str, Any]) -> tuple[TitanRequest | None, dict[str, Any]]:
        """The request of a call; and its arguments, with the body read where it is a file."""
        body = arguments.get("body")
        if isinstance(body, str):
            try:
                data = body.encode()
            except UnicodeEncodeError:
                return None, arguments
        elif isinstance(body, (bytes, bytearray)):
            data = bytes(body)
        elif hasattr(body, "read") and _is_for_us(arguments, self._models):
            content = body.read()  # type: ignore[union-attr]  # it has it
            arguments = {**arguments, "body": content}
            if not isinstance(content, (bytes, bytearray, str)):
                return None, arguments
            return self._request_of(arguments)
        else:
            return None, arguments
        found = request_of(arguments, data, models=self._models, region=self._region)
        return found, arguments


def _is_for_us(arguments: Mapping[str, Any], models: Mapping[str, str]) -> bool:
    """Would a call with these arguments be answered from the store, given the right body?"""
    probe = b'{"inputText": "any"}'
    return request_of(arguments, probe, models=models, region=None) is not None


class WrappedClient:
    """A client with another `invoke_model`; all else is the client's, set and deleted too."""

    def __init__(self, client: Any, titan: Titan) -> None:
        object.__setattr__(self, "_wrapped", client)
        object.__setattr__(self, "titan", titan)
        object.__setattr__(self, "invoke_model", titan.invoke_model)

    @property  # isinstance asks it
    def __class__(self) -> type:
        return type(object.__getattribute__(self, "_wrapped"))

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError("the class of a wrapped client is its client's")

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_wrapped"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_wrapped"), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(object.__getattribute__(self, "_wrapped"), name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(object.__getattribute__(self, "_wrapped")), "titan"})

    def __repr__(self) -> str:
        return f"<titanstore: {object.__getattribute__(self, '_wrapped')!r}>"
