"""The error tree is a promise: classes, kinds and builtins that callers rely on."""

from __future__ import annotations

import copy
import pickle

import pytest

import titanstore
from titanstore import errors
from titanstore.errors import ErrorKind, StoreError

TREE: dict[str, tuple[type[Exception], ...]] = {
    "InvalidInputError": (ValueError,),
    "NotFoundError": (KeyError,),
    "CorruptionError": (),
    "NewerFormatError": (),
    "BusyError": (),
    "ReadOnlyError": (),
    "StorageError": (),
    "ClosedError": (),
    "AnswerError": (),
    "MigrationError": (),
}
KINDS = (
    "empty-key",
    "key-too-long",
    "key-not-text",
    "duplicate-key",
    "wrong-dtype",
    "wrong-shape",
    "wrong-dimension",
    "mixed-dimensions",
    "non-finite",
    "bad-setting",
    "unknown-key",
    "unknown-document",
    "unknown-version",
    "version-gone",
    "tag-in-use",
    "no-store",
    "not-a-store",
    "truncated-frame",
    "checksum-mismatch",
    "bad-frame",
    "bad-record",
    "bad-segment",
    "short-segment",
    "missing-segment",
    "bad-catalog",
    "bad-plane",
    "bad-bloom",
    "newer-format",
    "already-open",
    "opened-read-only",
    "read-only-disk",
    "disk-full",
    "io-failed",
    "closed",
)


def test_the_tree() -> None:
    found = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, StoreError) and kind is not StoreError
    }
    assert found.keys() == TREE.keys()
    for name, builtins in TREE.items():
        assert found[name].__bases__ == (StoreError, *builtins)
        assert getattr(titanstore, name) is found[name]
        assert found[name].__doc__


def test_kinds_are_added_never_renamed() -> None:
    assert {kind.value for kind in ErrorKind} >= set(KINDS)
    # an alias would not show in iteration
    assert len(ErrorKind.__members__) == len({kind.value for kind in ErrorKind})
    assert all(kind.name.lower().replace("_", "-") == kind.value for kind in ErrorKind)


@pytest.mark.parametrize("name", TREE)
def test_an_error_survives_pickling_and_copying(name: str) -> None:
    error = getattr(errors, name)("what was seen; what was wanted", ErrorKind.CLOSED)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
        assert type(again) is type(error)
        assert (str(again), again.kind) == ("what was seen; what was wanted", ErrorKind.CLOSED)
    assert copy.deepcopy(error).kind is ErrorKind.CLOSED
    # a KeyError would show its repr
    assert str(error) == "what was seen; what was wanted"
    assert f"{error.kind}" == "closed"
