"""Two settings that are right alone must be right together: wrong vectors, hits or documents.

Every pair of values of two settings is in some store below. Each of these stores is filled,
tidied, changed, searched, given back to a version; then it is read and written with the settings
of another one, and again with its own: what one configuration left, the next must take.
Every change of a setting from one value to another is in one of these, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, fields
from itertools import combinations, cycle, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures import vectors as made
from harness.oracle import Oracle, distance
from suites.tests.stateful.test_store import Model, with_segments_of
from titanstore import EmbeddingStore, ErrorKind, InvalidInputError, NotFoundError, StoreConfig
from titanstore.config import FALLBACK, MIB
from titanstore.search.lance_settings import ROWS_TRAINED_MIN
from titanstore.settings.known import SETTINGS

Vector = NDArray[np.float32]
Choice = tuple[str, object]

DIMENSION, ODD_DIMENSION, ROWS, K = 64, 12, 24, 5
SMALL_SEGMENT_BYTES = 2_000  # stands for the smallest that a caller may ask for: 1 MiB
VALUES: dict[str, tuple[object, ...]] = {
    "memory_bytes_max": (1_300_000, 40_000),
    "hot_bytes_max": (1_240_000, 10_000, 0),  # all rows, nine of them, none
    "warm_bytes_max": (5_000_000, 0),
    "policy": ("probation", "lru"),
    "shared_pool": (False, True),
    "prefetch": (True, False),
    "compression": (True, False),
    "bloom": (False, True),
    "segment_reads": ("mmap", "pread"),
    "durability": ("full", "power_cut_may_lose_store"),
    "dimension": (None, DIMENSION),
    "refuse_non_finite": (False, True),
    "segment_bytes_max": (256 * MIB, MIB),
    "search": (True, False),
    "result_cache_entries": (16, 0),
    "search_index": ("auto", "flat", "lance"),
    "lance_vectors_min": (100_000, 0),
    "lance_index": ("ivf_rq", "ivf_pq", "ivf_flat", "ivf_sq", "hnsw_sq"),
    "lance_cache_bytes": (256 * MIB, 0),
    "versions_max": (64, 1),
    "publish": (True, False),
    "rollout_percent": (100, 0),
    "shadow": (True, False),
    "fallback": (False, True),
}


def pairs_of(row: Mapping[str, object]) -> set[frozenset[Choice]]:
    """Pairs that a store with these settings tries: under `fallback` only those with it."""
    pairs = {frozenset(pair) for pair in combinations(row.items(), 2)}
    if not row["fallback"]:
        return pairs
    return {pair for pair in pairs if ("fallback", True) in pair}


def all_pairs() -> set[frozenset[Choice]]:
    """Each value of each setting with each value of each other one."""
    return {
        frozenset(((one, a), (other, b)))
        for one, other in combinations(VALUES, 2)
        for a in VALUES[one]
        for b in VALUES[other]
    }


def covering() -> list[dict[str, object]]:
    """Few rows of settings that have all pairs between them; the same ones every time."""
    rng = np.random.default_rng(20261128)
    missing = all_pairs()
    rows = []
    while missing:
        seeds = sorted(missing, key=lambda pair: sorted(map(str, pair)))
        tried = [_filled(seeds[int(rng.integers(len(seeds)))], missing, rng) for _ in range(8)]
        best = max(tried, key=lambda row: len(pairs_of(row) & missing))
        missing -= pairs_of(best)
        rows.append(best)
    return rows


def _filled(
    pair: frozenset[Choice], missing: set[frozenset[Choice]], rng: np.random.Generator
) -> dict[str, object]:
    """The rest of a row, each setting at the value that brings most of what is missing."""
    row = {"fallback": False} | dict(sorted(pair, key=str))
    for name in rng.permutation([name for name in VALUES if name not in row]).tolist():
        gains = [
            sum(frozenset(((name, value), chosen)) in missing for chosen in row.items())
            for value in VALUES[name]
        ]
        row[name] = VALUES[name][int(np.argmax(gains))]
    return {name: row[name] for name in VALUES}


ROWS_OF_SETTINGS = covering()


def test_every_setting_and_every_choice_is_tried() -> None:
    assert VALUES.keys() == {field.name for field in fields(StoreConfig)}
    for setting in SETTINGS:
        assert set(setting.choices) <= set(VALUES[setting.name])
        assert setting.off is None or setting.off in VALUES[setting.name]
        assert len(VALUES[setting.name]) >= 2


def test_the_stores_have_every_pair_between_them() -> None:
    tried = set().union(*(pairs_of(row) for row in ROWS_OF_SETTINGS))
    assert tried == all_pairs()
    sizes = [len(values) for values in VALUES.values()]
    total = sum(sizes)
    assert len(tried) == (total**2 - sum(size**2 for size in sizes)) // 2


def test_fallback_is_every_part_off() -> None:
    off = {setting.name: setting.off for setting in SETTINGS if setting.off is not None}
    # a mapped file can end the process; the rest is no part of how vectors are kept
    others = {"search", "publish", "rollout_percent", "shadow"}
    assert FALLBACK.keys() == (off.keys() - others) | {"segment_reads"}
    assert all(FALLBACK[name] == off[name] for name in off.keys() - others)


# ---------------------------------------------------------------- the stores


def config_of(row: Mapping[str, Any]) -> StoreConfig:
    config = StoreConfig(**row)
    small = config.segment_bytes_max == MIB
    return with_segments_of(config, SMALL_SEGMENT_BYTES) if small else config


def material(seed: int) -> tuple[list[Vector], list[Vector]]:
    """Vectors of each kind that a codec knows; and odd ones of another dimension."""
    rng = np.random.default_rng(seed)
    kinds = (made.bfloat16, made.bfloat16_divided, made.token_mean, made.gaussians)
    usual = [kind(rng, ROWS // 4, DIMENSION) for kind in kinds]
    odd = [made.quiet_nans(rng, 1, ODD_DIMENSION), made.signed_zeros(rng, 1, ODD_DIMENSION)]
    return [row for rows in usual for row in rows], [row for rows in odd for row in rows]


class Exercise:
    """One folder, and what must be in it."""

    def __init__(self, folder: Path, *, takes_odd: bool, is_large: bool) -> None:
        self.folder = folder
        self.model = Model()
        self.turn = 0
        self.ever = {"never"}
        self.usual, odd = material(1)
        self.later, _ = material(2)
        self.odd = odd if takes_odd else []
        rng = np.random.default_rng(4)
        self.many = list(made.gaussians(rng, ROWS_TRAINED_MIN if is_large else 0, DIMENSION))
        self.queries = cycle(material(3)[0])

    def fill(self, store: EmbeddingStore) -> None:
        for name, first in (("a.py", 0), ("b.py", ROWS // 2)):
            chunks = [(f"k{place}", self.usual[place]) for place in range(first, first + ROWS // 2)]
            store.put_many([key for key, _ in chunks], [row for _, row in chunks], name)
            self.model.put(chunks, name)
        for place, row in enumerate(self.odd):
            store.put(f"odd{place}", row)
            self.model.put([(f"odd{place}", row)], None)
        more = [(f"m{place}", row) for place, row in enumerate(self.many)]
        store.put_many([key for key, _ in more], self.many)
        self.model.put(more, None)

    def change(self, store: EmbeddingStore) -> None:
        """Replace, add and remove by document; replace and delete by key."""
        last = [key for key in self.model.values if not key.startswith("odd")][-1]  # in some tier
        self.ever |= self.model.values.keys()
        kept = [(f"k{place}", self.usual[place]) for place in range(6)]
        fresh = [(f"k{place}", self.later[place]) for place in range(6, 8)]
        self.turn += 1
        chunks = [*kept, *fresh, (f"new{self.turn}", self.later[0])]
        store.update_document("a.py", chunks)
        self.model.update_document("a.py", chunks)
        store.put(last, self.later[self.turn])
        self.model.put([(last, self.later[self.turn])], None)
        gone = [f"k{ROWS - 2}", "k0", "never"]
        assert store.delete(gone) == self.model.delete(gone)

    def agree(self, *stores: EmbeddingStore) -> None:
        """Each of the stores says what the model does, in every way of asking."""
        values, documents = self.model.values, self.model.documents
        for store in stores:
            assert len(store) == len(values)
            assert store.documents() == sorted(documents)
            for name, members in documents.items():
                assert store.document_keys(name) == members
            for keys in (
                reversed(values),
                values,
            ):  # first what was read last, and may be in a tier
                assert {key: store.get(key).tobytes() for key in keys} == values
            usual = [key for key in values if not key.startswith("odd")]
            rows = store.get_many(usual)
            assert [row.tobytes() for row in rows] == [values[key] for key in usual]
            for absent in sorted(self.ever - values.keys()):
                assert absent not in store
                with pytest.raises(NotFoundError):
                    store.get(absent)
            self._search(store, usual)

    def _search(self, store: EmbeddingStore, keys: Sequence[str]) -> None:
        rows = np.stack([np.frombuffer(self.model.values[key], np.float32) for key in keys])
        query = next(self.queries)
        if not store.config.search:
            with pytest.raises(InvalidInputError) as refused:
                store.search(query, K)
            assert refused.value.kind is ErrorKind.SEARCH_OFF
            return
        for place in (0, 4, 6, -1):  # what comes, goes and is replaced: each is nearest to itself
            assert store.search(rows[place], 1)[0].key == keys[place]
        found = [store.search(query, K) for _ in range(2)]  # the second may be a kept result
        assert found[0] == found[1]
        if store.config.search_index == "flat":
            wanted = Oracle(keys, rows).search(query, K)
            assert [tuple(hit) for hit in found[0]] == [tuple(hit) for hit in wanted]
            return
        # candidates of an index: perhaps not the nearest, but present, right and in order
        by_key = dict(zip(keys, rows, strict=True))
        assert len({hit.key for hit in found[0]}) == K
        for hit in found[0]:
            assert hit.distance == distance(by_key[hit.key], query, "cosine")
        assert [hit.distance for hit in found[0]] == sorted(hit.distance for hit in found[0])


def asks_lance(config: StoreConfig) -> bool:
    """Is a table kept and asked for so few vectors?"""
    if not config.search or config.search_index == "flat":
        return False
    return config.search_index == "lance" or config.lance_vectors_min == 0


def is_asked(store: EmbeddingStore) -> None:
    """No search went without a table that its settings want: that would test nothing of it."""
    if asks_lance(store.config):
        assert store.stats().counters["lance_searches"]
        assert store.stats().lance_trouble is None


def steps_of(row: Mapping[str, object], after: Mapping[str, object]) -> set[tuple[str, Choice]]:
    """What changes from one row to another: name, from, to."""
    given: tuple[dict[str, Any], ...] = (dict(row), dict(after))
    one, other = (asdict(StoreConfig(**each)) for each in given)
    return {(name, (str(one[name]), other[name])) for name in one if one[name] != other[name]}


def all_steps() -> set[tuple[str, Choice]]:
    return {
        (name, (str(value), other))
        for name, values in VALUES.items()
        for value, other in permutations(values, 2)
    }


def successors() -> list[dict[str, object]]:
    """For each row the one whose settings come after it, so that every step is taken."""
    missing = all_steps()
    found = []
    for row in ROWS_OF_SETTINGS:
        found.append(max(ROWS_OF_SETTINGS, key=lambda each: len(steps_of(row, each) & missing)))
        missing -= steps_of(row, found[-1])
    return found


AFTER = successors()


def test_every_change_of_a_setting_is_made() -> None:
    made_steps = set().union(*map(steps_of, ROWS_OF_SETTINGS, AFTER))
    assert not all_steps() - made_steps


@pytest.mark.parametrize(
    ("row", "after"),
    list(zip(ROWS_OF_SETTINGS, AFTER, strict=True)),
    ids=[f"store{place}" for place in range(len(ROWS_OF_SETTINGS))],
)
def test_settings_together(row: dict[str, Any], after: dict[str, Any], tmp_path: Path) -> None:
    config, other = config_of(row), config_of(after)
    takes_odd = all(each.dimension is None for each in (config, other))
    takes_odd = takes_odd and not (config.refuse_non_finite or other.refuse_non_finite)
    is_large = asks_lance(config) or asks_lance(other)
    work = Exercise(tmp_path / "store", takes_odd=takes_odd, is_large=is_large)
    with EmbeddingStore.open(work.folder, config) as store:
        work.fill(store)
        store.maintain()
        work.agree(store)
        is_asked(store)
        before, state = store.snapshot("before"), deepcopy(work.model)
        with EmbeddingStore.open(work.folder, other, read_only=True) as reader:
            work.agree(reader)
            work.change(store)
            work.agree(store, reader)
            store.maintain()  # LanceDB's tables take up what the rollback then takes back
            work.ever |= work.model.values.keys()
            store.rollback(before)
            work.model = state
            work.agree(store, reader)
    with EmbeddingStore.open(work.folder, other) as store:
        work.agree(store)
        work.change(store)
        store.maintain()
        work.agree(store)
        is_asked(store)
        assert store.wait_for_prefetch()
    with EmbeddingStore.open(work.folder, config) as store:
        work.agree(store)
        work.change(store)
        work.agree(store)
        assert store.check().is_clean
