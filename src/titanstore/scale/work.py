"""What a worker does with one part or one fragment. The same functions run here and on Ray.

Arguments and results are plain values that pickle. A function that is called twice for one item
does no harm: what it writes is seen by nobody until the job commits.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from titanstore.errors import AnswerError, ErrorKind, StoreError
from titanstore.scale.fragments import checked_rows, shape_of, write_rows
from titanstore.scale.ledger import Ledger
from titanstore.scale.location import Location, lance, reaching
from titanstore.scale.parts import Embedding, Job, Part, Text, given_rows, once, texts_of
from titanstore.scale.repeats import hashes_of
from titanstore.scale.table import SharedTable
from titanstore.search.lance_schema import LanceRow

_AHEAD = 4  # texts that wait for each thread


def write_part(job: Job, name: str, part: Part) -> dict[str, Any]:
    """Make the rows of a part, write them as fragments, read them back, note it; the note.

    Raises
    ------
    AnswerError, MigrationError, CorruptionError, StorageError
        Nothing was noted: the part is to be done again.
    """
    started = time.perf_counter()
    table = SharedTable.open(job.table)
    rows = once(_rows(job, part))
    fragments, written = write_rows(job.table, table.shape, rows)
    note = {
        "part": part.number,
        "fragments": fragments,
        "rows": written.rows,
        "vector_bytes": written.vector_bytes,
        "file_bytes": sum(
            each["file_size_bytes"] or 0 for text in fragments for each in json.loads(text)["files"]
        ),
        "seconds": time.perf_counter() - started,
        "worker": os.getpid(),
    }
    Ledger(job.table, name).note(part.number, note)
    return note


def _rows(job: Job, part: Part) -> Iterator[LanceRow]:
    if job.embedding is None:
        assert job.vectors is not None
        return given_rows(part, job.vectors)
    return embedded_rows(texts_of(part, job.embedding), job.embedding)


# -- embedding --------------------------------------------------------------------------------


def embedded_rows(texts: Iterator[Text], how: Embedding) -> Iterator[LanceRow]:
    """Rows of texts, in their order; some texts are asked for ahead.

    What `invoke_model` raises passes untouched, after the retries of botocore.

    Raises
    ------
    AnswerError
        NO_VECTOR: the model answered without a vector.
    InvalidInputError
        As `Embedding.request`.
    """
    waiting: deque[Future[LanceRow]] = deque()
    with ThreadPoolExecutor(how.parallel, thread_name_prefix="embed") as threads:
        try:
            for text in islice(texts, how.parallel * _AHEAD):
                waiting.append(threads.submit(_embedded, text, how))
            while waiting:
                yield waiting.popleft().result()
                for text in islice(texts, 1):
                    waiting.append(threads.submit(_embedded, text, how))
        finally:
            for each in waiting:
                each.cancel()


def _embedded(text: Text, how: Embedding) -> LanceRow:
    request = how.request(text.text)
    from titanstore.clients.bedrock.bodies import read_body

    response = _client(how.endpoint, how.region, how.parallel).invoke_model(
        modelId=how.model,
        body=json.dumps(how.fields(text.text)),
        accept="application/json",
        contentType="application/json",
    )
    found = read_body(response["body"].read(), request.dimension)
    if found is None:
        raise AnswerError(
            f"{how.model} answered without a vector of {request.dimension} finite values",
            ErrorKind.NO_VECTOR,
        )
    return LanceRow(request.key, found.vector, 0, text.document, how.model)


@lru_cache(maxsize=1)
def _client(endpoint: str | None, region: str | None, parallel: int) -> Any:
    """One client for all threads of this process."""
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=parallel, retries={"mode": "adaptive", "max_attempts": 10})
    return boto3.client("bedrock-runtime", endpoint_url=endpoint, region_name=region, config=config)


# -- verifying --------------------------------------------------------------------------------


class Checked(NamedTuple):
    """What one fragment held."""

    fragment: int
    rows: int
    vector_bytes: int
    file_bytes: int
    hashes: NDArray[np.uint64]  # of the keys
    problem: str | None  # the first; rows after it were not looked at


def check_fragment(location: Location, version: int, fragment: int) -> Checked:
    """Read all of a fragment: checksums, frames decoded, search vectors made again and compared."""
    rows = size = 0
    hashes: list[NDArray[np.uint64]] = []
    problem = None
    with reaching(location):
        dataset = lance().dataset(location.uri, version=version, storage_options=location.options())
        found = dataset.get_fragment(fragment)
    files = sum(each.file_size_bytes or 0 for each in found.metadata.files)
    shape = shape_of(dataset)
    try:
        with reaching(location):
            for batch in found.to_batches(batch_size=1024):
                listed = checked_rows(location, batch, shape)
                rows += len(listed)
                size += sum(vector.nbytes for _, vector in listed)
                hashes.append(hashes_of(batch.column("key")))
    except StoreError as error:
        problem = str(error)
    joined = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    return Checked(fragment, rows, size, files, joined, problem)
