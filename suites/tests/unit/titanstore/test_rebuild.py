"""Risk: of two that make one store, the second takes the first one's folder away."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from titanstore import EmbeddingStore, ErrorKind, InvalidInputError, StorageError
from titanstore.rebuild import unfinished_folder

ROW = np.ones(8, np.float32)


def test_of_some_that_want_one_folder_one_gets_it_and_none_hurts_it(tmp_path: Path) -> None:
    """Nobody removed the folder of another one, nor wrote into it, whenever he came."""
    for turn in range(20):
        path = tmp_path / f"store {turn}"
        together = threading.Barrier(4)

        def made(number: int, path: Path = path, together: threading.Barrier = together) -> str:
            together.wait()
            try:
                with unfinished_folder(path) as folder, EmbeddingStore.open(folder) as store:
                    store.put(f"by {number}", ROW)
            except InvalidInputError as error:
                return error.kind
            return "made"

        with ThreadPoolExecutor(4) as threads:
            done = list(threads.map(made, range(4)))
        assert sorted(done) == sorted(["made", *[ErrorKind.NOT_A_STORE] * 3])
        assert [each.name for each in tmp_path.glob(f"{path.name}*")] == [path.name]
        with EmbeddingStore.open(path, read_only=True) as store:
            assert np.array_equal(store.get(f"by {done.index('made')}"), ROW)
            assert len(store) == 1


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError("a disk"), StorageError),
        (InvalidInputError("a key", ErrorKind.EMPTY_KEY), InvalidInputError),
    ],
)
def test_nothing_is_left_of_one_that_fails(
    tmp_path: Path, raised: BaseException, seen: type[BaseException]
) -> None:
    path = tmp_path / "new folders" / "store"

    def fail() -> None:
        with unfinished_folder(path) as folder:
            (folder / "something").write_text("half")
            raise raised

    with pytest.raises(seen):
        fail()
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError), unfinished_folder(tmp_path / "file" / "store"):
        pass
    assert (tmp_path / "file").read_text() == ""
