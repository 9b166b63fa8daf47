"""LangChain's `Embeddings` over a wrapped Bedrock client. Needs `titanstore[langchain]`.

Takes the place of `CacheBackedEmbeddings` around `BedrockEmbeddings`: queries and documents share
one store, a text is embedded once, an error is never kept.
"""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

_USUAL_MODEL = "amazon.titan-embed-text-v2:0"


class TitanEmbeddings(Embeddings):  # type: ignore[misc]  # LangChain is not checked here
    """Texts to lists of floats: those that parsing Titan's own body gives.

    Any thread may use it. What botocore raises passes untouched. The text is embedded as it is
    (langchain-aws puts blanks in the place of line ends first, so its keys differ).

    Parameters
    ----------
    client
        From `titanstore.clients.bedrock.wrap`.
    model_id
        A Titan embedding model.
    parallel
        Calls of the model at a time in `embed_documents`.
    options
        Further fields of the request: `dimensions=512, normalize=True`.

    Raises
    ------
    InvalidInputError
        NOT_TITAN, BAD_SETTING.
    """

    def __init__(
        self, client: Any, model_id: str = _USUAL_MODEL, *, parallel: int = 8, **options: Any
    ) -> None:
        self._titan = client.titan
        self._embedder = client.titan.embedder(model_id, **options)
        self._parallel = parallel

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One list of floats for each text, in order; as `Embedder.floats_many`."""
        found: list[list[float]] = self._embedder.floats_many(texts, parallel=self._parallel)
        return found

    def embed_query(self, text: str) -> list[float]:
        """The floats of one text; as `Embedder.floats`."""
        found: list[float] = self._embedder.floats(text)
        return found

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents`, in a thread."""
        found: list[list[float]] = await self._titan.aio.floats_many(
            self._embedder, texts, parallel=self._parallel
        )
        return found

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query`, in a thread."""
        found: list[float] = await self._titan.aio.floats(self._embedder, text)
        return found
