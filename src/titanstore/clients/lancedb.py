"""A LanceDB embedding function over a wrapped Bedrock client. Needs `titanstore[bedrock,lance]`.

    use(wrap(boto3.client("bedrock-runtime"), store))
    titan = get_registry().get("titanstore").create(dimensions=512)

A table's metadata names the function, its model and options, and the name of the client, never
credentials: a process that opens the table calls `use` first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lancedb.embeddings import TextEmbeddingFunction, get_registry
from pydantic import PrivateAttr

from titanstore.clients.bedrock.embedder import Embedder
from titanstore.codec.base import Vector
from titanstore.errors import ErrorKind, NotFoundError

_clients: dict[str, Any] = {}


def use(client: Any, name: str = "default") -> None:
    """Let embedding functions of this process that name this client use it.

    Parameters
    ----------
    client
        From `titanstore.clients.bedrock.wrap`. Another one of the same name takes its place, for
        functions made from then on.
    """
    _clients[name] = client


@get_registry().register("titanstore")
class TitanFunction(TextEmbeddingFunction):  # type: ignore[misc]  # LanceDB is not checked here
    """Embeds the source column by Titan, through a store: on `add`, and on searches by text.

    Attributes
    ----------
    model_id
        A Titan embedding model.
    dimensions, normalize
        Fields of the request; None leaves them out.
    client
        A name that `use` was given.
    parallel
        Calls of the model at a time.
    max_retries
        0: retries are botocore's.
    """

    model_id: str = "amazon.titan-embed-text-v2:0"
    dimensions: int | None = None
    normalize: bool | None = None
    client: str = "default"
    parallel: int = 8
    max_retries: int = 0
    _embedder: Embedder | None = PrivateAttr(default=None)

    def ndims(self) -> int:
        """Values of a vector."""
        return self._made().dimension

    def generate_embeddings(
        self, texts: list[str | None] | Any, *_: Any, **__: Any
    ) -> list[Vector | None]:
        """The vector of each text, bit for bit; None where there is no text.

        Raises
        ------
        NotFoundError
            NO_CLIENT: `use` was not called in this process.
        """
        listed = [text or None for text in texts]
        wanted = [text for text in listed if text is not None]
        rows = iter(self._made().embed_many(wanted, parallel=self.parallel))
        return [None if text is None else np.asarray(next(rows)) for text in listed]

    # Once its retries are used up, and with 0 they are at once, LanceDB raises a bare Exception
    def compute_source_embeddings_with_retry(self, *given: Any, **named: Any) -> Any:
        """As LanceDB's; without retries, errors are the very ones: botocore's, or ours.

        `Table.add` runs it within LanceDB's core, which tells them as a RuntimeError.
        """
        if self.max_retries:
            return super().compute_source_embeddings_with_retry(*given, **named)
        return self.compute_source_embeddings(*given, **named)

    def compute_query_embeddings_with_retry(self, *given: Any, **named: Any) -> Any:
        """As `compute_source_embeddings_with_retry`, of a query."""
        if self.max_retries:
            return super().compute_query_embeddings_with_retry(*given, **named)
        return self.compute_query_embeddings(*given, **named)

    def _made(self) -> Embedder:
        if self._embedder is None:
            if self.client not in _clients:
                raise NotFoundError(
                    f"no client {self.client!r}: call titanstore.clients.lancedb.use(client, "
                    f"{self.client!r}) before",
                    ErrorKind.NO_CLIENT,
                )
            options: dict[str, Any] = {"dimensions": self.dimensions, "normalize": self.normalize}
            given = {name: value for name, value in options.items() if value is not None}
            self._embedder = _clients[self.client].titan.embedder(self.model_id, **given)
        return self._embedder
