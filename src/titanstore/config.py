"""Settings of a store: frozen, checked, from defaults, a file, the environment and arguments."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from titanstore.codec.frame import DIMENSION_MAX
from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.segments.layout import SEGMENT_BYTES_LIMIT

MIB = 2**20
ENVIRONMENT_PREFIX = "TITANSTORE_"
Durability = Literal["full", "power_cut_may_lose_store"]
PolicyName = Literal["probation", "lru"]
SegmentReads = Literal["mmap", "pread"]
SearchIndex = Literal["auto", "flat", "lance"]
LanceIndex = Literal["ivf_rq", "ivf_pq", "ivf_flat", "ivf_sq", "hnsw_sq"]
_SWITCHES = (
    "shared_pool",
    "prefetch",
    "compression",
    "bloom",
    "refuse_non_finite",
    "search",
    "publish",
    "shadow",
    "fallback",
)
_CHOICES = {
    "policy": PolicyName,
    "durability": Durability,
    "segment_reads": SegmentReads,
    "search_index": SearchIndex,
    "lance_index": LanceIndex,
}
FALLBACK: Mapping[str, object] = MappingProxyType(
    {
        "hot_bytes_max": 0,
        "warm_bytes_max": 0,
        "shared_pool": False,
        "prefetch": False,
        "compression": False,
        "bloom": False,
        "segment_reads": "pread",
        "result_cache_entries": 0,
        "search_index": "flat",
    }
)
"""What the setting `fallback` puts in the place of other settings, whatever they say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """How a store behaves. Sizes are bytes; no setting changes what is returned.

    Attributes
    ----------
    memory_bytes_max
        Total of the hot and warm tiers, the bookkeeping of each row and frame included. The
        default leaves room below the plan's 2.5 MB for contexts, threads and LMDB.
    hot_bytes_max
        Tier L1, decoded rows: at most this much of the total. 0 switches the tier off.
    warm_bytes_max
        Tier L2, compressed frames: at most this much of what L1 leaves. 0 switches it off.
    policy
        Which row or frame leaves a full tier: "probation" or "lru".
    shared_pool
        Keep hot rows in memory that all processes of the store share, at most `hot_bytes_max` for
        all of them. Off by default: reports/decisions/0018.
    prefetch
        After a miss, decode the other chunks of its document in the background.
    compression
        False stores raw float32: larger, still bit-exact, readable in place.
    bloom
        Keep a Bloom filter in a mapped file and ask it before the catalog. Off by default: the
        catalog answers "not here" in 2 us (reports/decisions/0004).
    durability
        "full": a write is on the disk when it is acknowledged. "power_cut_may_lose_store": no
        fsync; kill -9 loses nothing, but a power cut may leave a store that cannot be opened.
    dimension
        Refuse vectors of any other dimension; None takes them all.
    refuse_non_finite
        Refuse vectors with NaN or infinity; by default they are stored bit for bit.
    segment_bytes_max
        A segment file is closed when the next record would pass this size.
    segment_reads
        "mmap": segments and planes are mapped, the fastest; a file cut short by somebody else, or a
        disk that cannot read, then ends the process by SIGBUS. "pread": such reads raise instead; a
        vector from the disk takes some microseconds more, and a search keeps the codes it scans in
        memory. The catalog is always mapped.
    search
        Keep what `search` needs: codes of every vector, 8 bits a value, which sliced frames do not
        repeat (reports/decisions/0010). False: smaller by a sixth, and `search` raises.
    result_cache_entries
        Results of earlier queries, kept while no change can alter them, 1 kB each for k = 10; of
        large k fewer, so that they hold 100 hits each on average. 0 switches the cache off.
    search_index
        "flat" scans all codes and is exact; "lance" asks a LanceDB index and is approximate;
        "auto" is "flat" below `lance_vectors_min` vectors of a dimension, "lance" from there on.
    lance_vectors_min
        See `search_index`; also from where on `maintain` keeps a LanceDB table.
    lance_index
        Kind of the LanceDB index: "ivf_rq" (4 bits), "ivf_pq", "ivf_flat", "ivf_sq", "hnsw_sq".
    lance_cache_bytes
        Most that LanceDB's session may keep of its index in memory.
    versions_max
        How many versions without a tag `maintain` keeps, the newest ones.
    publish
        Show counters, sizes and latencies of this object to `titanstore top`, in 8 KiB of shared
        memory (reports/decisions/0017).
    rollout_percent
        Share of the keys that a wrapped Bedrock client answers from the store, 0 to 100, by a hash
        of the key (`titanstore.rollout`); the model answers the others, as without a store.
    shadow
        Compare what the model answers for those others with what the store would have answered,
        and keep it. False: the store is not touched for them.
    fallback
        Every part that can be off is off, whatever the other settings say (`FALLBACK`): tiers,
        pool, prefetch, Bloom filter, result cache, LanceDB, mapped segments, and compression for
        what is written from now on. Slow and large, and the same vectors.
    """

    memory_bytes_max: int = 1_300_000
    hot_bytes_max: int = 1_240_000
    warm_bytes_max: int = 5_000_000
    policy: PolicyName = "probation"
    shared_pool: bool = False
    prefetch: bool = True
    compression: bool = True
    bloom: bool = False
    durability: Durability = "full"
    dimension: int | None = None
    refuse_non_finite: bool = False
    segment_bytes_max: int = 256 * MIB
    segment_reads: SegmentReads = "mmap"
    search: bool = True
    result_cache_entries: int = 16
    search_index: SearchIndex = "auto"
    lance_vectors_min: int = 100_000
    lance_index: LanceIndex = "ivf_rq"
    lance_cache_bytes: int = 256 * MIB
    versions_max: int = 64
    publish: bool = True
    rollout_percent: float = 100
    shadow: bool = True
    fallback: bool = False

    def __post_init__(self) -> None:
        for name in ("memory_bytes_max", "hot_bytes_max", "warm_bytes_max"):
            value = getattr(self, name)
            if not _is_whole(value) or value < 0:
                raise _bad(name, value, "a number of bytes, 0 or more")
        if not _is_whole(self.versions_max) or self.versions_max < 0:
            raise _bad("versions_max", self.versions_max, "a number of versions, 0 or more")
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise _bad(name, getattr(self, name), "true or false")
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise _bad(name, getattr(self, name), " or ".join(get_args(kind)))
        for name in ("result_cache_entries", "lance_vectors_min", "lance_cache_bytes"):
            if not _is_whole(getattr(self, name)) or getattr(self, name) < 0:
                raise _bad(name, getattr(self, name), "a whole number, 0 or more")
        if self.dimension is not None and not (
            _is_whole(self.dimension) and 0 < self.dimension <= DIMENSION_MAX
        ):
            raise _bad("dimension", self.dimension, f"1 to {DIMENSION_MAX}, or nothing")
        if not (
            _is_whole(self.segment_bytes_max)
            and MIB <= self.segment_bytes_max <= SEGMENT_BYTES_LIMIT
        ):
            raise _bad("segment_bytes_max", self.segment_bytes_max, f"{MIB} to 2**32 - 1")
        percent = self.rollout_percent
        if isinstance(percent, bool) or not isinstance(percent, int | float):
            raise _bad("rollout_percent", percent, "a percentage, 0 to 100")
        if not 0 <= percent <= 100:  # nor is NaN
            raise _bad("rollout_percent", percent, "a percentage, 0 to 100")
        if self.fallback:
            for name, value in FALLBACK.items():
                object.__setattr__(self, name, value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bad(name: str, seen: object, wanted: str) -> InvalidInputError:
    return InvalidInputError(f"setting {name}: {seen!r}, wanted {wanted}", ErrorKind.BAD_SETTING)


def load_config(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    **arguments: object,
) -> StoreConfig:
    """Settings from defaults < TOML file < TITANSTORE_* variables < arguments.

    Parameters
    ----------
    file
        TOML with settings of `StoreConfig` at the top level or under [titanstore].
    environment
        Variables to read, default `os.environ`: TITANSTORE_HOT_BYTES_MAX=1000000.
    arguments
        Settings by name.

    Raises
    ------
    InvalidInputError
        BAD_SETTING: an unknown name, a wrong type, a value out of range, an unreadable file.
    """
    values: dict[str, object] = {} if file is None else read_file(file)
    for name, (_, text) in read_variables(environment).items():
        values[name] = from_text(name, text)
    values |= arguments
    known = setting_types()
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise InvalidInputError(
            f"unknown settings: {', '.join(unknown)}; known are {', '.join(known)}",
            ErrorKind.BAD_SETTING,
        )
    return StoreConfig(**values)  # type: ignore[arg-type]  # __post_init__ checks each


def setting_types() -> dict[str, str]:
    """Each setting with its declared type, as the source has it."""
    return {field.name: str(field.type) for field in fields(StoreConfig)}


def read_file(file: Path) -> dict[str, object]:
    """What a TOML file says at its top level, or under [titanstore] where it has that; unchecked.

    Raises
    ------
    InvalidInputError
        BAD_SETTING: it cannot be read, is no TOML, or its `titanstore` is no table.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{file}: {error}", ErrorKind.BAD_SETTING) from error
    table = document.get("titanstore", document)
    if not isinstance(table, dict):
        raise _bad("titanstore", table, "a table")
    return table


def read_variables(environment: Mapping[str, str] | None = None) -> dict[str, tuple[str, str]]:
    """Variable and text by the name of the setting; None: of `os.environ`."""
    return {
        variable[len(ENVIRONMENT_PREFIX) :].lower(): (variable, text)
        for variable, text in (os.environ if environment is None else environment).items()
        if variable.startswith(ENVIRONMENT_PREFIX)
    }


def from_text(name: str, text: str) -> object:
    """The value that a text means for a setting; the text for a setting that is not known.

    Raises
    ------
    InvalidInputError
        BAD_SETTING: it is no value of the setting's type.
    """
    declared = setting_types().get(name, "")
    if declared.startswith("bool"):
        answers = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in answers:
            raise _bad(name, text, "true or false")
        return answers[text.lower()]
    if declared.startswith(("int", "float")):
        is_whole = declared.startswith("int")
        try:
            return int(text) if is_whole else float(text)
        except ValueError:
            raise _bad(name, text, "a whole number" if is_whole else "a number") from None
    return text
