"""Every setting told: unit, range, what it costs, and which parts of a store one can switch off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from titanstore.codec.frame import DIMENSION_MAX
from titanstore.config import (
    MIB,
    Durability,
    LanceIndex,
    PolicyName,
    SearchIndex,
    SegmentReads,
)
from titanstore.segments.layout import SEGMENT_BYTES_LIMIT

_SWITCH = (True, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one setting is, for whoever has to choose.

    Attributes
    ----------
    unit
        "" where it has none.
    choices
        All that it may be; empty for a number.
    low, high
        Range of a number; `high` None: no limit.
    off
        Value that switches a part off; None where it switches none.
    tells, costs
        What it does; what one pays for it.
    """

    name: str
    unit: str = ""
    choices: tuple[object, ...] = ()
    low: int = 0
    high: int | None = None
    off: object = None
    tells: str
    costs: str

    @property
    def range(self) -> str:
        """The values that it may have, as the reference page writes them."""
        if self.choices:
            return ", ".join(written(choice) for choice in self.choices)
        text = f"{self.low} or more" if self.high is None else f"{self.low} to {self.high}"
        if self.name == "dimension":
            return f"{text}, or nothing"
        return f"{text}; {written(self.off)} is off" if self.off is not None else text


def written(value: object) -> str:
    """A value as a settings file has it; "nothing" for None, which TOML cannot say."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


SETTINGS = (
    Setting(
        name="memory_bytes_max",
        unit="bytes",
        tells="Total of the hot and warm tiers, their bookkeeping included.",
        costs="Memory; less holds fewer rows. Contexts, threads and LMDB come on top.",
    ),
    Setting(
        name="hot_bytes_max",
        unit="bytes",
        off=0,
        tells="Decoded rows, at most this much of the total.",
        costs="4 bytes a value and bookkeeping for each row. Off: every read decodes.",
    ),
    Setting(
        name="warm_bytes_max",
        unit="bytes",
        off=0,
        tells="Compressed frames, at most this much of what the hot tier leaves of the total.",
        costs="Memory. Off: a read that is not hot asks the catalog.",
    ),
    Setting(
        name="policy",
        choices=get_args(PolicyName),
        tells="What leaves a full tier; under probation first the prefetched rows nobody has read.",
        costs="Nothing.",
    ),
    Setting(
        name="shared_pool",
        choices=_SWITCH,
        off=False,
        tells="Decoded rows lie in memory that all processes of the store and user share.",
        costs="A row outside a process's own table takes 1 to 3 us instead of 0.2; 40 descriptors.",
    ),
    Setting(
        name="prefetch",
        choices=_SWITCH,
        off=False,
        tells="After a miss, decodes the other chunks of its document in a thread.",
        costs="Processor time for rows that nobody reads. Off: more misses.",
    ),
    Setting(
        name="compression",
        choices=_SWITCH,
        off=False,
        tells="Stores each vector in the smallest form that decodes to the same bits.",
        costs="0.1 to 0.4 ms for each vector written. Off: 4 bytes a value on the disk.",
    ),
    Setting(
        name="bloom",
        choices=_SWITCH,
        off=False,
        tells="Asks a Bloom filter in a mapped file before the catalog.",
        costs="A file and its pages; pays where most keys asked for are absent.",
    ),
    Setting(
        name="durability",
        choices=get_args(Durability),
        tells="full: a write is on the disk when it is acknowledged.",
        costs="full waits for the disk at each write; without it a power cut may end the store.",
    ),
    Setting(
        name="dimension",
        unit="values",
        low=1,
        high=DIMENSION_MAX,
        tells="Refuses vectors of any other dimension; nothing takes them all.",
        costs="Nothing.",
    ),
    Setting(
        name="refuse_non_finite",
        choices=_SWITCH,
        tells="Refuses vectors with NaN or infinity; else they are stored bit for bit.",
        costs="One pass over each vector written.",
    ),
    Setting(
        name="segment_bytes_max",
        unit="bytes",
        low=MIB,
        high=SEGMENT_BYTES_LIMIT,
        tells="A segment file is closed when the next record would pass this.",
        costs="Smaller: space is given back sooner, in more files.",
    ),
    Setting(
        name="segment_reads",
        choices=get_args(SegmentReads),
        tells="mmap maps segments. pread raises an error where a mapping would end the process.",
        costs="pread: some microseconds for each vector from the disk, and memory for searches.",
    ),
    Setting(
        name="search",
        choices=_SWITCH,
        off=False,
        tells="Keeps the codes that search scans.",
        costs="Up to a sixth of the disk. Off: search raises.",
    ),
    Setting(
        name="result_cache_entries",
        unit="results",
        off=0,
        tells="Results of earlier queries, returned again while no change can alter them.",
        costs="1 kB of memory each for k = 10. Off: every query scans.",
    ),
    Setting(
        name="search_index",
        choices=get_args(SearchIndex),
        off="flat",
        tells="flat scans all codes; lance asks a LanceDB index; auto chooses by size.",
        costs="flat: time that grows with the vectors. lance: a table, and approximate results.",
    ),
    Setting(
        name="lance_vectors_min",
        unit="vectors",
        tells="From how many vectors of a dimension on auto uses LanceDB.",
        costs="Lower: a table earlier, which maintain brings up to date.",
    ),
    Setting(
        name="lance_index",
        choices=get_args(LanceIndex),
        tells="Kind of LanceDB's index; another one is built by the next maintain.",
        costs="ivf_flat and ivf_sq are larger and nearer to exact than ivf_rq and ivf_pq.",
    ),
    Setting(
        name="lance_cache_bytes",
        unit="bytes",
        tells="Most that LanceDB may keep of its index in memory.",
        costs="Memory; less reads the disk more often.",
    ),
    Setting(
        name="versions_max",
        unit="versions",
        tells="How many versions without a tag maintain keeps, the newest ones.",
        costs="Each: one catalog record a changed value, and the vectors that only it needs.",
    ),
    Setting(
        name="publish",
        choices=_SWITCH,
        off=False,
        tells="Shows counters, sizes and latencies to titanstore top.",
        costs="8 KiB of shared memory, some 8 ns of a hot read's 170. Off: top sees no process.",
    ),
    Setting(
        name="rollout_percent",
        unit="percent of keys",
        high=100,
        off=0,
        tells="A wrapped Bedrock client answers these keys from the store; the model the others.",
        costs="One call of the model for every request of the others, as without a store.",
    ),
    Setting(
        name="shadow",
        choices=_SWITCH,
        off=False,
        tells="Compares the model's answers for the others with the store's, and keeps them.",
        costs="Two looks into the store beside the call. Off: the store is not touched for them.",
    ),
    Setting(
        name="fallback",
        choices=_SWITCH,
        tells="Switches every part off at once, whatever the other settings say.",
        costs="Slow reads, and 4 bytes a value for what is written; the same vectors.",
    ),
)
"""All of them, in the order of `StoreConfig`."""
