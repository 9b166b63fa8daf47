"""What every codec promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.frame import Buffer

Vector = NDArray[np.float32]


class Codec(Protocol):
    """A lossless map between a float32 vector and the body of a frame.

    A codec is a claim about data: `encode` may return a body that does not decode to the same
    bits, and `choose.encode_frame` is what verifies it before anything is acknowledged.
    """

    @property
    def codec_id(self) -> int:
        """0 to 15, written into each frame, never given to another codec."""
        ...

    @property
    def name(self) -> str:
        """Name in reports, measurements and FORMAT.md."""
        ...

    def encode(self, vector: Vector) -> bytes | None:
        """The body for a contiguous float32 vector, or None when the claim does not hold."""
        ...

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        """Decode `bodies[i]` into `out[i]`; `out` is float32 of shape (len(bodies), dimension).

        Raises
        ------
        CorruptionError
            BAD_FRAME when a body is not one that `encode` makes. `out` is then undefined.
        """
        ...
