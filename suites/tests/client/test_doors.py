"""Risk: a library that calls Titan through our doors gets other numbers, or pays twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector
from langchain_aws import BedrockEmbeddings
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_core.embeddings import Embeddings
from langchain_core.stores import InMemoryByteStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from fixtures.titan.answers import Answers, EmulatedTitan
from fixtures.titan.responder import TitanResponder
from suites.tests.client.conftest import V1, V2, ask
from suites.tests.client.test_batches import Refusing
from titanstore import ClosedError, EmbeddingStore, ErrorKind, NotFoundError
from titanstore.clients.bedrock import wrap
from titanstore.clients.lancedb import TitanFunction, use
from titanstore.clients.langchain import TitanEmbeddings

TEXTS = ["a cat", "a dog", "a text of some more words", "a cat"]


# ---------------------------------------------------------------- LangChain


class _OnOurClient:
    """What LangChain's standard tests ask of a class under test."""

    @pytest.fixture(autouse=True)
    def _client(self, client: Any) -> None:
        self._wrapped = client

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return TitanEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"client": self._wrapped, "model_id": V2, "dimensions": 256}


class TestTitanEmbeddingsUnit(_OnOurClient, EmbeddingsUnitTests):  # type: ignore[misc]
    """LangChain's own."""


class TestTitanEmbeddings(_OnOurClient, EmbeddingsIntegrationTests):  # type: ignore[misc]
    """LangChain's own."""


@pytest.mark.parametrize("model", [V1, V2])
def test_langchain_gets_the_floats_that_it_gets_without_us(
    model: str, client: Any, plain: Any, titan: TitanResponder
) -> None:
    theirs = BedrockEmbeddings(client=plain, model_id=model)
    ours = TitanEmbeddings(client, model)
    wanted = theirs.embed_documents(TEXTS)
    before = titan.calls
    for _ in range(2):
        assert list(map(repr, ours.embed_documents(TEXTS))) == list(map(repr, wanted))
        assert [ours.embed_query(text) for text in TEXTS] == wanted
    assert titan.calls == before + 3  # queries and documents share; equal texts are one


def test_their_own_class_runs_on_our_client(client: Any, plain: Any, titan: TitanResponder) -> None:
    theirs = BedrockEmbeddings(client=plain, model_id=V2, normalize=True)
    same = BedrockEmbeddings(client=client, model_id=V2, normalize=True)
    wanted = [theirs.embed_query(text) for text in TEXTS]
    before = titan.calls
    for _ in range(2):
        assert same.embed_documents(TEXTS) == wanted
        assert [same.embed_query(text) for text in TEXTS] == wanted
    assert titan.calls == before + 3


def test_ours_takes_the_place_of_cache_backed_embeddings(
    client: Any, plain: Any, titan: TitanResponder, store: EmbeddingStore
) -> None:
    kept = InMemoryByteStore()
    cached = CacheBackedEmbeddings.from_bytes_store(
        BedrockEmbeddings(client=plain, model_id=V2),
        kept,
        namespace=V2,
        query_embedding_cache=True,
        key_encoder="blake2b",
    )
    wanted = cached.embed_documents(TEXTS), cached.embed_query(TEXTS[0])
    ours = TitanEmbeddings(client, V2)
    assert (ours.embed_documents(TEXTS), ours.embed_query(TEXTS[0])) == wanted
    theirs_bytes = sum(len(value or b"") for value in kept.mget(list(kept.yield_keys())))
    stats = store.stats()
    # theirs is the JSON text; ours the frames, whatever the grid of the emulated serving gives
    assert stats.segment_bytes + stats.plane_bytes < theirs_bytes / 3


async def test_langchain_asynchronously(client: Any, titan: TitanResponder) -> None:
    ours = TitanEmbeddings(client, V2, dimensions=256)
    wanted = await ours.aembed_documents(TEXTS)
    found = await asyncio.gather(*(ours.aembed_query(text) for text in TEXTS))
    assert found == wanted
    assert titan.calls == 3


# ---------------------------------------------------------------- LanceDB


@pytest.fixture
def used(client: Any) -> Iterator[Any]:
    use(client)
    yield client
    from titanstore.clients import lancedb as door

    door._clients.clear()


def table_on_add(folder: Path, **options: Any) -> Any:
    titan = get_registry().get("titanstore").create(**options)

    class Chunk(LanceModel):  # type: ignore[misc]  # LanceDB is not checked here
        text: str = titan.SourceField()
        vector: Vector(titan.ndims()) = titan.VectorField()  # type: ignore[valid-type]

    return lancedb.connect(folder).create_table("chunks", schema=Chunk)


def test_a_table_embeds_on_add_bit_for_bit(
    used: Any, titan: TitanResponder, tmp_path: Path
) -> None:
    table = table_on_add(tmp_path / "lance", dimensions=256, normalize=True)
    table.add([{"text": text} for text in TEXTS])
    assert titan.calls == 3
    embed = used.titan.embedder(V2, dimensions=256, normalize=True)
    found = table.to_arrow()
    for text, row in zip(found["text"].to_pylist(), found["vector"].to_pylist(), strict=True):
        assert np.array_equal(
            np.array(row, np.float32).view(np.uint32), embed.embed(text).view(np.uint32)
        )
    nearest = table.search("a dog").select(["text", "_distance"]).limit(1).to_list()
    assert nearest[0]["text"] == "a dog"
    assert nearest[0]["_distance"] == 0
    assert titan.calls == 3  # the query was embedded as a document already
    table.add([{"text": "a new one"}, {"text": "a cat"}])
    assert titan.calls == 4


def test_a_table_is_opened_again_by_its_metadata(
    used: Any, titan: TitanResponder, tmp_path: Path
) -> None:
    table_on_add(tmp_path / "lance", dimensions=256).add([{"text": "a cat"}])
    metadata = lancedb.connect(tmp_path / "lance").open_table("chunks").schema.metadata
    told = json.loads(metadata[b"embedding_functions"])
    assert told[0]["name"] == "titanstore"
    assert told[0]["model"] == {"dimensions": 256}
    again = lancedb.connect(tmp_path / "lance").open_table("chunks")
    again.add([{"text": "a dog"}])
    assert (
        again.search("a dog").select(["text", "_distance"]).limit(1).to_list()[0]["_distance"] == 0
    )
    assert titan.calls == 2


def test_errors_come_through_lancedb_as_botocores_own(
    used: Any, tmp_path: Path, emulated: EmulatedTitan, answering: Callable[[Answers], None]
) -> None:
    table = table_on_add(tmp_path / "lance", dimensions=256)
    answering(Refusing(emulated, {"a cat"}))
    with pytest.raises(used.exceptions.AccessDeniedException):
        table.search("a cat").to_list()
    function = TitanFunction.create(dimensions=256)
    with pytest.raises(used.exceptions.AccessDeniedException):
        function.compute_source_embeddings_with_retry(["a cat"])
    # an add runs in LanceDB's core, which has but one error for all that Python raises
    with pytest.raises(RuntimeError, match="AccessDeniedException"):
        table.add([{"text": "a cat"}])
    table.add([{"text": "a dog"}])
    assert table.count_rows() == 1


def test_texts_that_are_missing_have_no_vector(used: Any) -> None:
    function = TitanFunction.create(dimensions=256)
    found = function.compute_source_embeddings(["a cat", None, ""])
    assert [row is None for row in found] == [False, True, True]
    assert function.max_retries == 0


def test_a_process_that_names_no_client_is_told_how(tmp_path: Path) -> None:
    function = TitanFunction.create(client="nobody's")
    with pytest.raises(NotFoundError) as found:
        function.ndims()
    assert found.value.kind is ErrorKind.NO_CLIENT


# ---------------------------------------------------------------- asyncio


def test_awaited_calls_are_the_same(client: Any, titan: TitanResponder) -> None:
    embed = client.titan.embedder(V2)

    async def ask_all() -> list[Any]:
        aio = client.titan.aio
        body = json.dumps({"inputText": "a cat"})
        found = await asyncio.gather(
            *(aio.invoke_model(modelId=V2, body=body) for _ in range(4)),
            aio.embed(embed, "a cat"),
            aio.floats(embed, "a cat"),
            aio.embed_many(embed, TEXTS),
            aio.floats_many(embed, TEXTS),
        )
        return list(found)

    for _ in range(2):  # two event loops
        found = asyncio.run(ask_all())
        wanted = ask(client, "a cat")
        assert [one["body"].read() for one in found[:4]] == [wanted] * 4
        assert found[5] == json.loads(wanted)["embedding"] == found[7][0]
        assert np.array_equal(found[4], found[6][3])
    assert titan.calls == 3


def test_awaited_errors_are_the_same(client: Any) -> None:
    async def wrong() -> None:
        await client.titan.aio.invoke_model(modelId=V2, body="{}")

    with pytest.raises(client.exceptions.ValidationException):
        asyncio.run(wrong())


def test_a_closed_client_says_so_however_late(client: Any) -> None:
    """Closed by another thread between two steps of a call: no RuntimeError of the threads'."""
    embed = client.titan.embedder(V1)
    client.titan.embedder(V1).embed("x")

    async def until_closed() -> int:
        answered = 0
        closing = None
        while True:
            try:
                await asyncio.gather(*(client.titan.aio.embed(embed, "x") for _ in range(20)))
            except ClosedError:
                assert closing is not None
                await closing
                return answered
            answered += 20
            if closing is None:
                closing = asyncio.create_task(asyncio.to_thread(client.titan.aio.close))

    assert asyncio.run(until_closed()) >= 20


def test_a_cancelled_call_is_kept(client: Any, titan: TitanResponder) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(client.titan.aio.embed(client.titan.embedder(V1), "x"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    client.titan.aio.close()
    client.titan.embedder(V1).embed("x")
    assert titan.calls == 1


async def test_past_the_cache_holds_for_its_task(client: Any, titan: TitanResponder) -> None:
    embed = client.titan.embedder(V1)
    aio = client.titan.aio

    async def past() -> None:
        with client.titan.past_cache():
            await aio.embed(embed, "x")

    await aio.embed(embed, "x")
    await asyncio.gather(past(), aio.embed(embed, "x"))
    assert titan.calls == 2


def test_importing_the_store_loads_none_of_it() -> None:
    import subprocess
    import sys

    program = (
        "import sys, titanstore, titanstore.clients; "
        "print([n for n in ('boto3', 'botocore', 'orjson', 'lancedb', 'langchain_core') "
        "if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.strip() == b"[]"


def test_a_client_wrapped_twice_still_answers(client: Any, store: EmbeddingStore) -> None:
    again = wrap(client, store)
    assert ask(again) == ask(client)
