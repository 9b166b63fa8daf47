"""What the model answers, beside what the store would have answered."""

from __future__ import annotations

import logging

import numpy as np

from titanstore.clients.bedrock.bodies import Embedded
from titanstore.clients.bedrock.cache import AnswerCache
from titanstore.clients.bedrock.counters import Tally
from titanstore.clients.bedrock.requests import TitanRequest
from titanstore.codec.base import Vector
from titanstore.vectors import same_bits

_log = logging.getLogger("titanstore.clients.bedrock")
_LOGGED_MAX = 100  # a model that answers with other last bits would fill a disk


class Shadow:
    """Compares, counts and logs. Any thread may use it."""

    def __init__(self, cache: AnswerCache, tally: Tally) -> None:
        self._cache = cache
        self._tally = tally

    def agrees(self, request: TitanRequest, embedded: Embedded, body: bytes) -> bool:
        """Would `invoke_model` and `embed` have given these very bytes and bits?

        Returns
        -------
        bool
            False also where the store has not both a body and a vector; that is no mismatch. A
            mismatch is logged by the key's digest, the first 100 of a client.
        """
        kept = self._cache.answer(request)
        vector = self._cache.vector(request.key, request.dimension)
        if kept is None and vector is None:
            return False
        self._tally.add("compared")
        differing = []
        if vector is not None and not same_bits(vector, embedded.vector):
            differing.append(_difference(vector, embedded.vector))
        if kept is not None and kept.body != body:
            differing.append(f"bodies of {len(kept.body)} and {len(body)} bytes")
        if differing:
            count = self._tally.add("shadow_mismatches")
            if count <= _LOGGED_MAX:
                _log.warning(
                    "shadow: the store and the model differ for key %s: %s%s",
                    request.key,
                    "; ".join(differing),
                    "; further ones are only counted" if count == _LOGGED_MAX else "",
                )
        return not differing and kept is not None and vector is not None


def _difference(kept: Vector, sent: Vector) -> str:
    """How far two vectors of one dimension are apart, without telling what is in them."""
    count = int(np.count_nonzero(kept.view(np.uint32) != sent.view(np.uint32)))
    with np.errstate(all="ignore"):
        far = float(np.max(np.abs(kept.astype(np.float64) - sent.astype(np.float64))))
    return f"{count} of {kept.size} values, by at most {far:.3g}"
