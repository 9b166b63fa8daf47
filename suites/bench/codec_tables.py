"""Make the tables of `titanstore.codec.tables`, and tell what they and others would save.

`python -m suites.bench.codec_tables ../shared/data/titan` prints the Huffman trees, whether they
are the shipped ones, and for decision 0020 the bits a value of exponents (and signs) under
statistics of different kinds, each on vectors of another source than it was learnt from; then what
one table for all rests of sliced vectors costs beyond the bits that they have.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from titanstore.codec import tables
from titanstore.codec.grid import find_scalar
from titanstore.codec.sliced_tabled import cut_by_half

Vectors = NDArray[np.float32]
Counts = NDArray[np.float64]
# where the recorded v1 rows pass from one of their three sources to the next, by mean similarity
V1_SOURCES = (160, 596)
_SHIFTED = 24  # place of the base in the histograms of aligned exponents
_SMALLEST = 3e-5  # share of a symbol that the recorded vectors hardly have
_EXPONENT_SYMBOLS = 24


def recorded(folder: Path) -> dict[str, Vectors]:
    """Grid values of the recorded vectors by kind, those of v1 on the grid apart from others."""
    named = {path.stem: np.load(path)["vectors"] for path in folder.glob("*.npz")}
    v1 = named["v1_chunks"]
    sources = np.searchsorted(V1_SOURCES, np.arange(len(v1)), side="right")
    on_grid = ~(v1.view(np.uint32) & 0xFFFF).any(axis=1)
    scaled = {
        name: np.stack([found[2] for v in named[name] if (found := find_scalar(v, 8)) is not None])
        for name in ("v2_scaled_bf16", "image_v1")
    }
    return {
        **{f"v1 {source}": v1[on_grid & (sources == source)] for source in range(3)},
        "v1 off the grid": v1[~on_grid],
        "v2 of 2024": scaled["v2_scaled_bf16"],
        "v2 token mean": named["v2_token_mean"],
        "image": scaled["image_v1"],
    }


def exponents(vectors: Vectors) -> NDArray[np.int64]:
    """Their exponent fields."""
    return (vectors.view(np.uint32) >> 23 & 0xFF).astype(np.int64)


def aligned(sets: Sequence[Vectors]) -> tuple[Counts, list[NDArray[np.int64]]]:
    """Shares of base - exponent + 24 over sets that weigh alike, and the symbols of each set.

    A vector's base is the one that costs it the fewest bits under the shares of all.
    """
    fields = [exponents(vectors) for vectors in sets]
    bases = [np.rint(one.mean(axis=1, keepdims=True)).astype(np.int64) for one in fields]
    for _ in range(5):
        symbols = [
            np.clip(base - one + _SHIFTED, 0, 63) for base, one in zip(bases, fields, strict=True)
        ]
        counts = sum(np.bincount(one.ravel(), minlength=64) / one.size for one in symbols)
        shares: Counts = np.asarray(counts, np.float64) / len(sets)
        cost = -np.log2(np.maximum(shares, 1e-6))
        for base, one in zip(bases, fields, strict=True):
            tried = [cost[np.clip(base + by - one + _SHIFTED, 0, 63)].sum(1) for by in (-1, 0, 1)]
            base += np.argmin(tried, axis=0)[:, None] - 1
    return shares, symbols


def tree_of(shares: Counts) -> bytes:
    """zstd's own description of the Huffman table for symbols of these shares."""
    counts = np.where(shares > 0, np.maximum(np.rint(shares / shares.sum() * 100_000), 1), 0)
    data = np.repeat(np.arange(len(shares)), counts.astype(int)).astype(np.uint8)
    np.random.default_rng(0).shuffle(data)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, window_log=17, write_content_size=False, write_checksum=False, min_match=7, hash_log=6
    )
    frame = zstandard.ZstdCompressor(compression_params=parameters).compress(data.tobytes())
    block = frame[6 + 3 :]  # behind magic number, descriptor, window and the block's header
    if frame[4] or block[0] & 3 != 2:
        raise SystemExit("zstd did not make a block with a table of its own")
    start = (3, 3, 4, 5)[block[0] >> 2 & 3]
    size = block[start]
    end = start + 1 + (size if size < 128 else (size - 126) // 2)
    return block[start:end]


def exponent_shares(sets: Sequence[Vectors]) -> Counts:
    """Shares of the symbols 0 to 23, the first one for exponents above all usual ones."""
    shares, _ = aligned(sets)
    first = int(np.flatnonzero(shares > _SMALLEST)[0]) - 1
    usual: Counts = np.maximum(shares[first : first + _EXPONENT_SYMBOLS], _SMALLEST)
    return usual


def rest_shares(sets: Sequence[Vectors]) -> Counts:
    """Shares of the 128 rests, depths among them."""
    counts = np.zeros(256)
    for vectors in sets:
        cuts = map(cut_by_half, vectors)
        made = b"".join(part for each in cuts for part in (each.rests, each.depths))
        counts += np.bincount(np.frombuffer(made, np.uint8), minlength=256) / len(made)
    shares: Counts = np.maximum(counts[:128] / counts.sum(), _SMALLEST)
    return shares


def by_other_sources(sets: dict[str, Vectors]) -> Iterator[str]:
    """For each source, bits a value under what all others of its model teach."""
    models = {"v1": [f"v1 {source}" for source in range(3)], "v2": ["v2 of 2024", "v2 token mean"]}
    for names in models.values():
        for name in names:
            others = np.concatenate([sets[other] for other in names if other != name])
            yield f"{name:16}" + "".join(f"{bits:9.3f}" for bits in _lengths(others, sets[name]))


def _lengths(learnt: Vectors, unseen: Vectors) -> list[float]:
    """Bits a value: exponents; with a shift a dimension; exponents and signs; with both."""
    _, (old, new) = aligned([learnt, unseen])
    scales = np.exp2(-2.0 * (old - _SHIFTED)).mean(axis=0)
    shift = np.rint(0.5 * np.log2(scales / np.median(scales))).astype(np.int64)
    flip = np.signbit(learnt).mean(axis=0) > 0.5
    signs = [np.signbit(vectors) ^ flip for vectors in (learnt, unseen)]
    shifted = [[np.clip(one + by, 0, 63) for one in (old, new)] for by in (0, shift)]
    signed = [[2 * one + sign for one, sign in zip(pair, signs, strict=True)] for pair in shifted]
    found = []
    for seen, coded in shifted + signed:
        counts = np.bincount(seen.ravel(), minlength=128) + 0.5
        found.append(float(-np.log2(counts / counts.sum())[coded].mean()))
    return found


def rest_bits(vectors: Vectors) -> tuple[float, float]:
    """Bits a value: rests coded by one table, and what they have where their codes are known."""
    cuts = list(map(cut_by_half, vectors))
    rests = np.frombuffer(b"".join(each.rests for each in cuts), np.uint8)
    counts = np.bincount(rests, minlength=128) + 1e-9
    magnitudes = np.concatenate([each.codes ^ (each.codes >> 7) for each in cuts])
    widths = 8 - np.maximum(np.frexp(magnitudes.astype(np.float64))[1], 1)
    return float(-np.log2(counts / counts.sum())[rests].mean()), float(widths.mean())


def main() -> None:
    """Print both tables and what statistics learnt elsewhere are worth."""
    sets = recorded(Path(sys.argv[1]))
    v1 = np.concatenate([sets[f"v1 {source}"] for source in range(3)])
    taught = [v1, sets["v2 of 2024"], sets["v2 token mean"]]
    shares = exponent_shares(taught)
    is_same = tree_of(shares) == tables.EXPONENTS_TREE
    is_same &= tree_of(rest_shares(taught)) == tables.RESTS_TREE
    lines = [
        f"exponents {tree_of(shares).hex()}",
        f"rests {tree_of(rest_shares(taught)).hex()}",
        "as shipped" if is_same else "NOT as shipped",
        f"{'':16}{'exponent':>9}{'+ shift':>9}{'+ sign':>9}{'both':>9}",
        *by_other_sources(sets),
        f"{'':16}{'rests':>9}{'at least':>9}",
        *("{:16}{:9.3f}{:9.3f}".format(name, *rest_bits(sets[name])) for name in sets),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
