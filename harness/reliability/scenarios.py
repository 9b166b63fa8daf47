"""What is done to a store while it is killed, cut off or refused: one operation a step.

A step is acknowledged when it returns. Small vectors of many kinds, no threads: so that the calls
of two runs are the same calls, and the n-th of them is the same one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.subjects.reference import ReferenceSubject

__all__ = ["FEW_KEYS", "SCENARIOS", "Holdings", "Scenario", "Step", "holdings", "opened", "rows"]

Vectors = NDArray[np.float32]
_DIMENSION = 24
_KEYS = tuple(f"{name}{number}" for name in "abcdn" for number in range(6))
_MANY = 1_500  # rows of the step that makes the map grow
_SMALL_MAP_BYTES = 1 << 17
# Every key that a scenario may put
FEW_KEYS = (*_KEYS, "after")
_MANY_KEYS = tuple(f"many {number}" for number in range(_MANY))


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything that a store holds, now and as of each version; plain values, fit for JSON.

    Attributes
    ----------
    vectors
        Bytes of each key's vector in hexadecimal digits.
    documents
        Keys of each, in order.
    versions
        By number: vectors and documents.
    """

    vectors: dict[str, str]
    documents: dict[str, list[str]]
    versions: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation.

    Attributes
    ----------
    is_atomic
        Whole or absent. Tidying is not: it may give up versions one by one, and nothing else.
    """

    act: Callable[[ReferenceSubject], object]
    is_atomic: bool = True

    def allows(self, before: Holdings, after: Holdings, seen: Holdings) -> bool:
        """May a store hold `seen` when this step was begun and not acknowledged?"""
        if self.is_atomic:
            return seen in (before, after)
        return (
            (seen.vectors, seen.documents) == (before.vectors, before.documents)
            and after.versions.keys() <= seen.versions.keys() <= before.versions.keys()
            and all(before.versions[number] == held for number, held in seen.versions.items())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A store as it is found, the settings it is opened with, and what is done.

    Attributes
    ----------
    prepare
        Makes the store in a folder; it then counts as being on the disk, all of it.
    settings_after
        Whoever looks at it afterwards has; those of the scenario where they are not given.
    has_small_map
        LMDB's map begins so small that it has to grow.
    """

    id: str
    prepare: Callable[[Path], None]
    steps: tuple[Step, ...]
    settings: dict[str, object] = field(default_factory=dict)
    settings_after: dict[str, object] | None = None
    has_small_map: bool = False

    @property
    def afterwards(self) -> Scenario:
        """The same for whoever looks at its store afterwards."""
        after = self.settings_after
        return self if after is None else replace(self, settings=after)


def opened(
    folder: Path, scenario: Scenario, *, read_only: bool = False, create: bool = True
) -> ReferenceSubject:
    """The scenario's store, opened. Raises as the store does."""
    if scenario.has_small_map:
        # no setting: only a store of millions of vectors reaches the size that a map begins with
        sys.modules["titanstore.catalog.environment"].__dict__["_MAP_BYTES_FIRST"] = (
            _SMALL_MAP_BYTES
        )
    settings = {"prefetch": False, **scenario.settings}
    return ReferenceSubject(folder, settings, read_only=read_only, create=create)


def holdings(subject: ReferenceSubject) -> Holdings:
    """All that a store holds, read through its public face. Raises as the store does."""
    store = subject.store
    vectors = {key: store.get(key).tobytes().hex() for key in FEW_KEYS if key in store}
    if len(vectors) != len(store):  # looked for only then: they are many
        vectors |= {key: store.get(key).tobytes().hex() for key in _MANY_KEYS if key in store}
    if len(vectors) != len(store):
        raise AssertionError(f"{len(store)} vectors, {len(vectors)} of them under known keys")
    versions: dict[str, list[dict[str, Any]]] = {}
    for number in subject.version_numbers():
        view = store.at(number)
        versions[str(number)] = [
            {key: view.get(key).tobytes().hex() for key in sorted(view.keys())},
            {name: view.document_keys(name) for name in view.documents()},
        ]
    return Holdings(vectors, subject.documents(), versions)


# -- vectors --------------------------------------------------------------------------------------


def rows(seed: int, count: int, dimension: int = _DIMENSION) -> Vectors:
    """Vectors that several codecs take: float16 grids, bfloat16 grids, noise."""
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((count, dimension)).astype(np.float32)
    found[::3] = found[::3].astype(np.float16)
    found[1::3] = (found[1::3].view(np.uint32) & 0xFFFF0000).view(np.float32)
    return found


def _few(folder: Path, settings: dict[str, object] | None = None) -> None:
    subject = ReferenceSubject(folder, {"prefetch": False, **(settings or {})})
    subject.put_document("x.py", ["a0", "a1", "a2", "a3"], rows(0, 4))
    subject.put_document("y.py", ["b0", "b1", "a3"], rows(1, 3))
    subject.put_many(["c0", "c1"], rows(2, 2))
    subject.close()


def _versions(folder: Path) -> None:
    _few(folder)
    subject = ReferenceSubject(folder, {"prefetch": False})
    for number in range(3):
        subject.snapshot(f"v{number}")
        subject.update_document("x.py", list(zip(["a0", "a1"], rows(10 + number, 2), strict=True)))
        subject.delete(["b0"])
        subject.put_document("y.py", ["b0", f"d{number}"], rows(20 + number, 2))
    subject.close()


def _left_by_a_kill(folder: Path) -> None:
    """As a write leaves it that was killed before its commit: a record, a row, a new segment."""
    _few(folder)
    segments = folder / "segments"
    for path in [*segments.glob("*.seg"), *segments.glob("*.plane")]:
        with path.open("ab") as file:
            file.write(path.read_bytes()[-90:])
    (segments / "00002.seg").write_bytes(b"TSEG")


def _churned(folder: Path) -> None:
    _few(folder)
    subject = ReferenceSubject(folder, {"prefetch": False})
    for seed in range(4):
        subject.put_document("x.py", ["a0", "a1", "a2"], rows(30 + seed, 3))
    subject.close()


SCENARIOS = {
    scenario.id: scenario
    for scenario in (
        Scenario(
            id="create",
            prepare=lambda _: None,
            steps=(
                Step(act=lambda s: s.put_document("x.py", ["a0", "a1"], rows(0, 2))),
                Step(act=lambda s: s.put_many(["c0"], rows(1, 1))),
            ),
        ),
        Scenario(
            id="put",
            prepare=_few,
            steps=(
                Step(act=lambda s: s.put_many(["n0"], rows(3, 1))),
                Step(act=lambda s: s.put_document("y.py", ["a0", "c0", "n1"], rows(4, 3))),
                Step(act=lambda s: s.put_document("z.py", ["n2"], rows(5, 1, 7))),
            ),
        ),
        Scenario(
            id="delete",
            prepare=_few,
            steps=(
                Step(act=lambda s: s.delete(["a1", "a3", "c0", "absent"])),
                Step(act=lambda s: s.delete(["a0", "a2", "b0", "b1", "c1"])),
            ),
        ),
        Scenario(
            id="update",
            prepare=_few,
            steps=(
                Step(
                    act=lambda s: s.update_document(
                        "x.py", list(zip(["a0", "n0", "a3"], rows(6, 3), strict=True))
                    )
                ),
                Step(act=lambda s: s.update_document("y.py", [])),
            ),
        ),
        Scenario(
            id="snapshot",
            prepare=_few,
            steps=(
                Step(act=lambda s: s.snapshot("first")),
                Step(act=lambda s: s.put_many(["a0"], rows(7, 1))),
                Step(act=lambda s: s.snapshot("second")),
            ),
        ),
        Scenario(
            id="rollback",
            prepare=_versions,
            steps=(
                Step(act=lambda s: s.rollback(1)),
                Step(act=lambda s: s.rollback(3)),
            ),
        ),
        Scenario(
            id="maintain",
            prepare=_versions,
            settings={"versions_max": 1},
            steps=(
                Step(act=lambda s: s.maintain(), is_atomic=False),
                Step(act=lambda s: s.put_many(["n0"], rows(8, 1))),
            ),
        ),
        Scenario(
            id="compact",
            prepare=_churned,
            steps=(
                Step(act=lambda s: s.maintain(), is_atomic=False),
                Step(act=lambda s: s.delete(list(_KEYS))),
                Step(act=lambda s: s.maintain(), is_atomic=False),
            ),
        ),
        Scenario(
            id="recover",
            prepare=_left_by_a_kill,
            steps=(Step(act=lambda s: s.put_document("y.py", ["n0"], rows(9, 1))),),
        ),
        Scenario(
            id="bloom",
            prepare=_few,
            settings={"bloom": True},
            steps=(Step(act=lambda s: s.put_many(["n0", "n1"], rows(3, 2))),),
        ),
        Scenario(
            id="bloom-kept",
            prepare=lambda folder: _few(folder, {"bloom": True}),
            settings={"bloom": True},
            steps=(
                Step(act=lambda s: s.put_many(["n0", "a0"], rows(3, 2))),
                Step(act=lambda s: s.delete(["a1", "n0"])),
            ),
        ),
        Scenario(
            id="bloom-off",
            prepare=lambda folder: _few(folder, {"bloom": True}),
            settings={"bloom": False},
            settings_after={"bloom": True},  # it must not be believed again
            steps=(Step(act=lambda s: s.put_many(["n0", "a0"], rows(3, 2))),),
        ),
        Scenario(
            id="raw",
            prepare=lambda folder: _few(folder, {"compression": False, "search": False}),
            settings={"compression": False, "search": False},
            steps=(Step(act=lambda s: s.put_document("x.py", ["n0", "a0"], rows(3, 2))),),
        ),
        Scenario(
            id="grow",
            prepare=_few,
            has_small_map=True,
            steps=(
                Step(
                    act=lambda s: s.put_document(
                        "many.py",
                        _MANY_KEYS,
                        rows(0, _MANY, 1),
                    )
                ),
            ),
        ),
    )
}
