"""One model with its options: texts in, vectors out, through the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from titanstore.clients.bedrock.batches import Warmed, each_of, warmed
from titanstore.clients.bedrock.cache import AnswerCache
from titanstore.clients.bedrock.calls import Calls
from titanstore.clients.bedrock.counters import Tally
from titanstore.clients.bedrock.digits import parsed_numbers
from titanstore.clients.bedrock.requests import TitanRequest, checked_model, titan_request
from titanstore.codec.base import Vector
from titanstore.errors import ErrorKind, InvalidInputError

Progress = Callable[[int, int], None]


class Embedder:
    """Vectors of texts by one Titan model. Any thread may use it.

    Made by `client.titan.embedder`. What `invoke_model` raises passes untouched.
    """

    def __init__(
        self,
        calls: Calls,
        cache: AnswerCache,
        tally: Tally,
        model_id: str,
        options: Mapping[str, Any],
        *,
        models: Mapping[str, str],
        region: str | None,
    ) -> None:
        self._calls = calls
        self._cache = cache
        self._tally = tally
        self._model_id = model_id
        self._options = dict(options)
        self._region = region
        if "inputText" in options:
            raise InvalidInputError(
                "the text is no option of an embedder: give it to embed", ErrorKind.BAD_SETTING
            )
        self.model = checked_model(model_id, models)
        self.dimension = self.request("any").dimension

    @property
    def options(self) -> dict[str, Any]:
        """Fields of the request beside the text; a copy."""
        return dict(self._options)

    def request(self, text: str) -> TitanRequest:
        """The request of a text, with its key.

        Raises
        ------
        InvalidInputError
            BAD_SETTING: an empty text, no text at all, or dimensions that are no number.
        """
        found = (
            titan_request(self.model, self._fields(text), region=self._region)
            if isinstance(text, str)
            else None
        )
        if found is None:
            raise InvalidInputError(
                f"{self.model} embeds a text that is not empty, with dimensions that are a whole "
                f"number; the options are {sorted(self._options)}",
                ErrorKind.BAD_SETTING,
            )
        return found

    def key(self, text: str) -> str:
        """The key of a text's vector in the store."""
        return self.request(text).key

    def embed(self, text: str) -> Vector:
        """The vector of one text: at most one call of the model.

        Returns
        -------
        ndarray of float32, shape (dimension,), read-only
            Yours to keep. About 12 us where the row is resident.

        Raises
        ------
        AnswerError
            NO_VECTOR: nothing was stored.
        InvalidInputError
            As `request`.
        """
        request = self.request(text)
        found = self._resident(request)
        return self._called(request, text)[0] if found is None else found

    def floats(self, text: str) -> list[float]:
        """The Python floats that parsing Titan's body gives, of one text. Raises as `embed`.

        Of a vector that the store has from elsewhere, without an answer: its float32 values.
        """
        request = self.request(text)
        found = self._resident_floats(request)
        return self._called(request, text)[1]() if found is None else found

    def embed_many(
        self, texts: Sequence[str], *, parallel: int = 8, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """The vectors of texts, in their order; a text that comes twice is asked for once.

        Parameters
        ----------
        parallel
            Calls of the model at a time, 1 or more. The client's `max_pool_connections`, 10 unless
            set, bounds them too.
        progress
            Called as `progress(done, total)` in this thread, counted in distinct texts.

        Returns
        -------
        ndarray of float32, shape (len(texts), dimension), C order
            Freshly allocated.

        Raises
        ------
        AnswerError, InvalidInputError
            As `embed`. The first error ends it: calls under way are waited for, and what they
            brought is kept; nothing further is begun.
        """
        texts = list(texts)  # gone through twice: an iterator would be used up
        found = self._each(texts, self._resident, 0, parallel, progress)
        rows = np.empty((len(texts), self.dimension), dtype=np.float32)
        for place, text in enumerate(texts):
            rows[place] = found[text]
        return rows

    def floats_many(
        self, texts: Sequence[str], *, parallel: int = 8, progress: Progress | None = None
    ) -> list[list[float]]:
        """`embed_many`, as the Python floats of Titan's bodies; each list is the caller's own."""
        texts = list(texts)
        found = self._each(texts, self._resident_floats, 1, parallel, progress)
        seen: set[str] = set()
        lists = []
        for text in texts:
            lists.append(list(found[text]) if text in seen else found[text])
            seen.add(text)
        return lists

    def warm(
        self,
        texts: Iterable[str],
        *,
        parallel: int = 8,
        progress: Callable[[int], None] | None = None,
        vectors_only: bool = False,
    ) -> Warmed:
        """Make sure that the store has the answers of texts; keeps no vector in memory.

        Parameters
        ----------
        texts
            May be endless as far as memory is concerned: a few are looked at ahead.
        progress
            Called as `progress(done)` in this thread.
        vectors_only
            A vector without an answer will do, one that was migrated say: `embed` and `floats`
            need no more. `invoke_model` of it calls the model all the same.

        Returns
        -------
        Warmed
            What was there, what was embedded, and errors by name: one text that fails, or one that
            Titan refuses, does not end the others. The setting `rollout_percent` has no say here.
        """
        is_kept = self._has_vector if vectors_only else self.has
        return warmed(texts, is_kept, self._kept, parallel, progress)

    def has(self, text: str) -> bool:
        """Does the store have the whole answer of a text? Calls nobody. Raises as `request`."""
        request = self.request(text)
        return not self._calls.is_past and self._cache.answer(request) is not None

    # -- parts -----------------------------------------------------------------------------

    def _has_vector(self, text: str) -> bool:
        request = self.request(text)
        return not self._calls.is_past and (
            self._cache.vector(request.key, request.dimension) is not None
        )

    def _kept(self, text: str) -> bool:
        """Have a text answered; does the store have the answer now? Raises as `embed`."""
        request = self.request(text)
        self._called(request, text, to_fill=True)
        return self._cache.answer(request, is_second_look=True) is not None

    def _fields(self, text: str) -> dict[str, Any]:
        return {"inputText": text, **self._options}

    def _resident(self, request: TitanRequest) -> Vector | None:
        if not self._calls.is_answered(request):
            return None
        found = self._cache.vector(request.key, request.dimension)
        if found is not None:
            self._tally.add("hits", self._cache.token_count(request.key))
        return found

    def _resident_floats(self, request: TitanRequest) -> list[float] | None:
        if not self._calls.is_answered(request):
            return None
        digits = self._cache.digits(request.key)
        if digits is None:
            return None
        found = self._resident(request)
        return None if found is None else parsed_numbers(found, digits)

    def _called(
        self, request: TitanRequest, text: str, *, to_fill: bool = False
    ) -> tuple[Vector, Callable[[], Any]]:
        arguments = {
            "modelId": self._model_id,
            "body": json.dumps(self._fields(text)),
            "accept": "application/json",
            "contentType": "application/json",
        }
        found, body = self._calls.embedded(request, arguments, to_fill=to_fill)
        return found.vector, lambda: orjson.loads(body)["embedding"]

    def _each(
        self,
        texts: Sequence[str],
        resident: Callable[[TitanRequest], Any],
        place: int,
        parallel: int,
        progress: Progress | None,
    ) -> dict[str, Any]:
        def call(text: str) -> Any:
            vector, floats = self._called(self.request(text), text)
            return floats() if place else vector

        return each_of(texts, lambda text: resident(self.request(text)), call, parallel, progress)
