"""No operation leaves tuples on the interpreter's free lists.

CPython keeps up to 2 000 freed tuples of each length below 20. One made of something that does not
know its length (a generator, `map`, `zip`, `_replace` of a named tuple) never comes from there and
ends there: with one for each read, 0.8 MB stood so after 100 000 of them (reports/decisions/0019).
Tuples of 20 are no measure: CPython 3.11 takes them in and never gives one out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="another interpreter has other free lists"
)

_WORK = """
import gc, json, os, re, sys, tempfile
import numpy as np
from titanstore import EmbeddingStore, StoreConfig

# rows for three blocks of a scan, and long enough for frames whose codes lie in a plane: a get puts
# these together again
ROWS, DIMENSION, ROUNDS = 17_000, 64, 100

def kept():
    # the interpreter writes its account of memory to standard error
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        sys._debugmallocstats()
        os.dup2(saved, 2)
        os.close(saved)
        file.seek(0)
        text = file.read().decode()
    counts = re.findall(r"^ *(\\d+) free +\\d+-sized PyTupleObject", text, re.M)
    assert counts, "the account does not list tuples"
    return sum(map(int, counts))

rows = np.random.default_rng(0).standard_normal((ROWS, DIMENSION)).astype(np.float32)
config = StoreConfig(
    durability="power_cut_may_lose_store", result_cache_entries=0, hot_bytes_max=10_000,
    memory_bytes_max=40_000, prefetch=False, segment_reads=sys.argv[2],
)
with EmbeddingStore.open(sys.argv[1], config) as store:
    store.put_many([f"{place}" for place in range(ROWS)], rows)

    def content(number):
        return [(f"d{number} {place}", rows[number + place]) for place in range(5)]

    works = {
        "get": lambda n: store.get(f"{n * 37 % ROWS}"),
        "get_many": lambda n: store.get_many([f"{(n + 7) * 41 % ROWS}", f"{n}"]),
        "search": lambda n: store.search(rows[n % 9]),
        "search_many": lambda n: store.search_many(rows[n % 9 : n % 9 + 3]),
        "put": lambda n: store.put(f"new {n}", rows[n]),
        "update_document": lambda n: store.update_document("document", content(n)),
        "delete": lambda n: store.delete([f"new {n - 1}"]),
        "contains": lambda n: f"{n}" in store,
    }
    found = {}
    for name, work in works.items():
        gc.collect()  # empties the lists: what is full would not show it
        for number in range(1, 2 * ROUNDS):
            if number == ROUNDS:  # by then they have what one operation holds at a time
                before = kept()
            work(number)
        found[name] = (kept() - before) / ROUNDS
print(json.dumps(found))
"""


@pytest.mark.parametrize("reads", ["mmap", "pread"])
def test_no_operation_fills_the_free_lists_of_tuples(tmp_path: Path, reads: str) -> None:
    command = [sys.executable, "-c", _WORK, str(tmp_path), reads]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(run.stdout)
    assert found, "no operation was tried"
    # it was one and more; what the account itself takes is divided by the rounds, too
    assert {name: left for name, left in found.items() if left > 0.5} == {}
