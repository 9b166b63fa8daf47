"""From a fresh interpreter to the first vector; each sample is a process of its own."""

from __future__ import annotations

from . import prepared

_OPEN = """
from titanstore import EmbeddingStore, StoreConfig
store = EmbeddingStore.open({path!r}, StoreConfig(), read_only=True)
seen.append(store.get({key!r}))
store.close()
"""
# After the timed part: a wrong vector ends the process with status 1, which fails the benchmark
_CHECK = """
import atexit, os
seen = []
def check():
    right = False
    try:
        right = seen[0].view("u4").tolist() == {words!r}
    finally:
        if not right:
            os._exit(1)
atexit.register(check)
"""


class Startup:
    """Statements timed in a fresh interpreter, its own start not included."""

    version = prepared.version(1)
    number = 1

    def setup(self) -> None:
        path, key = str(prepared.read_path()), prepared.document_keys()[0]
        words = prepared.document_vectors()[0].view("u4").tolist()
        self.first_vector = _OPEN.format(path=path, key=key), _CHECK.format(words=words)

    def timeraw_import(self) -> str:
        return "import titanstore"

    def timeraw_first_vector(self) -> tuple[str, str]:
        return self.first_vector
