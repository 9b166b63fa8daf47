"""A corpus made without Titan, its store, and a context of the smallest sizes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fixtures.titan.emulator import Serving
from fixtures.titan.recorded import RecordedSet
from fixtures.vectors import GENERATORS
from harness.environment import Code
from harness.measures.base import Context, Sizes
from harness.population import Population, build_store, load_population
from harness.subjects.reference import effective_config, embedding_key

DOCUMENTS, CHUNKS, DIMENSION = 12, 22, 64  # LanceDB indexes from 256 rows on
SIZES = Sizes(
    files=DOCUMENTS,
    processes=1,
    hot_batches=40,
    hot_batch_gets=200,
    disk_gets=300,
    cold_gets=DOCUMENTS,
    hostile_vectors=400,
    memory_operations=600,
    trace_reads=200,
    starts=1,
    catalog_keys=2_200,
    large_vectors=500,
    search_queries=60,
    search_sizes=(DOCUMENTS * CHUNKS,),
    query_samples=30,
    lance_processes=1,
    lance_samples=20,
    throughput_s=1.0,
    knee_step_s=0.2,
    updates=80,
    rollback_saves=12,
    killed_documents=3,
    killed_saves=4,
    kill_moments=2,
)
EDITS = 600  # the largest version debt


def make_population(folder: Path, name: str, seed: int) -> Population:
    """Random bfloat16 vectors; keys as Titan's would be."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = GENERATORS["bfloat16"](rng, DOCUMENTS * CHUNKS, DIMENSION)
    np.save(folder / "vectors.npy", rows)
    population = Population(
        name=name,
        folder=folder,
        model="titan-embed-text-v1",
        dimension=DIMENSION,
        documents=tuple(f"{place}.py" for place in range(DOCUMENTS)),
        chunks_per_document=CHUNKS,
        keys=tuple(embedding_key(name, str(row)) for row in range(len(rows))),
        corpus="made",
        corpus_digest="0123456789abcdef",
        evidence="emulated",
    )
    content = json.dumps({**asdict(population), "folder": None})
    (folder / "population.json").write_text(content, encoding="utf-8")
    return load_population(folder)


def make_edits(folder: Path, population: Population) -> Path:
    """Edits of one to three neighbouring chunks, as `workload.edits` writes them."""
    rng = np.random.default_rng(2)
    folder.mkdir(parents=True)
    listed: list[tuple[int, int, list[str], int]] = []
    row = 0
    for number in range(EDITS):
        changed = int(rng.integers(1, 4))
        keys = [embedding_key(population.name, f"edit {number} {at}") for at in range(changed)]
        first = int(rng.integers(CHUNKS - changed + 1))
        listed.append((int(rng.integers(DOCUMENTS)), first, keys, row))
        row += changed
    np.save(folder / "edits.npy", GENERATORS["bfloat16"](rng, row, DIMENSION))
    (folder / "edits.json").write_text(json.dumps(listed), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def shared_context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Prepared once; what a test breaks it copies before."""
    work = tmp_path_factory.mktemp("work")
    settings, digest = effective_config(None)
    # so little that most reads of even this small corpus come from the disk
    settings = {**settings, "hot_bytes_max": 20_000, "warm_bytes_max": 8_000}
    name = "files-1024"  # the other corpus is treated alike
    populations = {name: make_population(work / "populations" / name, name, seed=1)}
    stores = {name: work / "stores" / name}
    build_store(populations[name], stores[name], settings)
    vectors = populations[name].vectors()
    recorded = RecordedSet(
        name="v1_chunks",
        model="amazon.titan-embed-text-v1",
        serving=Serving.TEXT_V1,
        vectors=np.ascontiguousarray(vectors[:40]),
        token_count=np.full(40, -1, np.int32),
        digest="0" * 64,
        sources=("made for this test",),
    )
    return Context(
        work=work,
        profile="ci",
        sizes=SIZES,
        settings=settings,
        config_digest=digest,
        code=Code(commit="c" * 40, content_digest="d" * 32, dirty=False),
        machine_id="f" * 8,
        seed=5,
        populations=populations,
        stores=stores,
        edits={name: make_edits(work / "edits", populations[name])},
        updated=dict.fromkeys(("v1", "v2_2024", "v2"), populations[name]),
        recorded=[recorded],
        git=None,
    )


@pytest.fixture
def context(shared_context: Context, tmp_path: Path) -> Context:
    """The shared context with a working folder of this test's own."""
    return replace(shared_context, work=tmp_path)
