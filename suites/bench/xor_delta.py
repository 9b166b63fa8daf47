"""How often a changed vector would be smaller as XOR with the one before: decision 0011.

    python -m suites.bench.xor_delta ../shared/data/titan

For each pair (before, after) the delta is taken as favourably as can be: each of the four byte
planes of the XORed words through zstd level 19 or as it is, whichever is smaller, and nothing is
counted for the reference to the vector before. It is compared with the frame that the store keeps
for the vector after, alone. Pairs: a recorded row and the recorded row nearest to it, which is
nearer than most edits leave a chunk; and emulated chunks of real source files before and after one
to three of their lines were changed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import zstandard

from fixtures.titan.emulator import Emulator, Serving
from fixtures.titan.recorded import load_recorded
from harness.workload.corpus import read_corpus
from titanstore.codec.base import Vector
from titanstore.codec.choose import encode_frame

_SEED = 20_261_124
_Pair = tuple[Vector, Vector]


def delta_bytes(before: Vector, after: Vector) -> int:
    """The smallest size of the XOR of two vectors, by byte planes."""
    words = (before.view(np.uint32) ^ after.view(np.uint32)).view(np.uint8).reshape(-1, 4)
    zstd = zstandard.ZstdCompressor(level=19)
    planes = (words[:, place].tobytes() for place in range(4))
    return sum(min(len(plane), len(zstd.compress(plane))) for plane in planes)


def nearest_pairs(vectors: Vector) -> Iterator[_Pair]:
    """Each row with the other row that is nearest by cosine."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -1)
    for row, other in enumerate(similar.argmax(axis=1)):
        yield vectors[other], vectors[row]


def edited_pairs(serving: Serving, chunks: int) -> Iterator[_Pair]:
    """Chunks of source files before and after an edit of one to three lines."""
    rng = np.random.default_rng(_SEED)
    texts, edited = [], []
    for document in read_corpus(None, files=20, chunks_per_file=chunks).documents:
        for text in document.chunks[:5]:
            lines = text.splitlines(keepends=True)
            for place in rng.integers(0, len(lines), rng.integers(1, 4)):
                lines[place] = lines[int(rng.integers(0, len(lines)))]
            if "".join(lines) != text:
                texts.append(text)
                edited.append("".join(lines))
    emulator = Emulator(serving)
    before, after = emulator.embed_many(texts), emulator.embed_many(edited)
    for one, other in zip(before, after, strict=True):
        yield one.vector, other.vector


def show(name: str, pairs: Iterable[_Pair]) -> None:
    """One line: how often the delta is smaller than the frame, by which kind of frame."""
    cosines, sizes = [], []
    for before, after in pairs:
        cosine = float(before @ after / np.linalg.norm(before) / np.linalg.norm(after))
        cosines.append(cosine)
        frame = encode_frame(np.ascontiguousarray(after))
        sliced = encode_frame(np.ascontiguousarray(after), with_codes=True)
        delta = delta_bytes(before, after)
        # the codes of the vector after are scanned, so they are kept whatever else is
        sizes.append((delta, len(frame), delta + after.size, len(sliced)))
    table = np.array(sizes)
    raw = 4 * after.size
    print(  # noqa: T201
        f"{name:34} {len(table):5} pairs, cosine {np.median(cosines):.3f}: delta smaller in "
        f"{np.mean(table[:, 0] < table[:, 1]):6.1%} (search off: {table[:, 0].mean() / raw:.1%} "
        f"against {table[:, 1].mean() / raw:.1%} of raw), in "
        f"{np.mean(table[:, 2] < table[:, 3]):6.1%} (search on: {table[:, 2].mean() / raw:.1%} "
        f"against {table[:, 3].mean() / raw:.1%})"
    )


def main() -> None:
    """Print one line a kind of vector."""
    for group in load_recorded(Path(sys.argv[1])):
        if len(group.vectors) >= 30:
            show(f"recorded {group.name}, nearest rows", nearest_pairs(group.vectors))
    for serving, chunks in (
        (Serving.TEXT_V1, 15),
        (Serving.TEXT_V2_2024, 22),
        (Serving.TEXT_V2, 22),
    ):
        show(f"emulated {serving}, edits", edited_pairs(serving, chunks))


if __name__ == "__main__":
    main()
