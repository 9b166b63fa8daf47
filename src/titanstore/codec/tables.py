"""The tables that tabled bodies are coded by. They are part of the format and never change.

Each was made from the recorded vectors of all servings by `suites/bench/codec_tables.py`, which
also tells what they save on vectors of a source that they were not made from.
"""

from __future__ import annotations

from titanstore.codec.zstd import TabledCoder

# symbol s of an exponent e is base - e
EXPONENTS_TREE = bytes.fromhex("96128aaa887643322111111110")
# rests and depths of sliced vectors
RESTS_TREE = bytes.fromhex(
    "261088191a0b070000000000000000feffffffffffff7f03dab66ddbb69b8888881029a54c29a5"
)

_SETTINGS = {
    "strategy": 1,
    "min_match": 7,
    "hash_log": 6,
    "chain_log": 6,
    "search_log": 1,
    "target_length": 0,
}
EXPONENTS = TabledCoder(EXPONENTS_TREE, _SETTINGS)
RESTS = TabledCoder(RESTS_TREE, _SETTINGS)
