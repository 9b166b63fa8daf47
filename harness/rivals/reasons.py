"""Why ours is behind where it is: a sentence for each metric, and for some rivals one of their own.

Written after the profiles of docs/how-to/rivals.md; a row without a sentence says so on the page.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.rivals.catalogue import OURS_WITHOUT_SEARCH

__all__ = ["reason_for"]

_AS_IT_IS = ("lmdb-raw", "sqlite-blob", "diskcache", "numpy-memmap", "redis")

_OF_METRIC: Mapping[str, str] = {
    "put_s": (
        "A put of ours encodes, decodes again to compare every bit, and waits for two "
        "synchronisations: of the segment and of the catalog."
    ),
    "get_warm_s": (
        "A get of ours finds the key in the catalog, checks two checksums, decodes the exponents "
        "by zstd, puts sign, exponent and mantissa together and gives the row a place in memory: "
        "steps in Python, none of which takes half of the time. In random order hardly any "
        "neighbours are decoded."
    ),
    "get_warm_s_p99": "As with the median; and the thread that decodes neighbours takes its turn.",
    "get_cold_s": (
        "A get of ours reads two places, the row of codes and the frame, and looks the key up in "
        "the catalog: three reads from the disk where a single file needs one or two."
    ),
    "put_many_s": (
        "Each vector is encoded for itself by several codecs, decoded again and compared before it "
        "is acknowledged."
    ),
    "get_many_s": "Every vector is decoded and its checksum looked at.",
    "open_s": (
        "Opening looks for torn tails, opens catalog, segments and planes, and takes the locks "
        "that many processes need."
    ),
    "import_s": "numpy apart, ours loads zstandard, LMDB, NumKong and its own modules.",
    "memory": (
        "Ours keeps decoded rows and compressed frames in memory, at most what its budget says, so "
        "that a hot get needs no disk and no decoding, and its modules count as well; these "
        "rivals keep nothing."
    ),
    "search_2200_s": (
        "At this size a query is bound by what comes around the scan: bounds of rounding errors, "
        "and the exact distances of all candidates in float64, which the others do not offer."
    ),
    "search_10000_s": (
        "The scan reads a quarter of the bytes; bounds and exact distances of the candidates in "
        "float64 come on top, which the others do not offer."
    ),
}
_BYTES_INDEX = (
    "Ours counts one byte a value for the codes that search scans; with search switched off it is "
    f"the row {OURS_WITHOUT_SEARCH}."
)
_OF_RAW: Mapping[str, str] = {
    "get_warm_s": "It hands out the bytes as they lie there: nothing is decoded, nothing checked.",
    "get_warm_s_p99": "It hands out the bytes as they lie there: nothing is decoded or checked.",
    "get_many_s": "It hands out the bytes as they lie there: nothing is decoded, nothing checked.",
    "put_many_s": "It writes the bytes as they are: nothing is encoded, nothing compared.",
    "put_s": (
        "It writes the bytes as they are, with one synchronisation or a log of its own; ours "
        "encodes, decodes again to compare every bit, and synchronises segment and catalog."
    ),
}
_OF_REDIS: Mapping[str, str] = {
    "get_cold_s": (
        "It has read its whole file at the start, which `open` shows, and answers from memory."
    ),
}


def reason_for(subject: str, metric: str) -> str:
    """Why this rival is ahead of ours by this metric; "" where nobody has said."""
    if metric.startswith("bytes_"):
        return _BYTES_INDEX
    if subject == OURS_WITHOUT_SEARCH:
        return "Without codes for search a vector lies in one place, in one frame."
    if subject == "redis" and metric in _OF_REDIS:
        return _OF_REDIS[metric]
    if subject in _AS_IT_IS and metric in _OF_RAW:
        return _OF_RAW[metric]
    return _OF_METRIC.get(metric, "")
