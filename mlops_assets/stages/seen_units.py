"""Which draws have counted already, in a few bits each.

Belongs here: counting each key once. Not here: what a key is and what counts (rollout_evidence.py). A client that asks the
same thing again stays in its arm, so its rows are one draw, not many: counted as many, they refute any claim in the end.
"""

import base64
import math
import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from mlops_assets.stages.metrics import Array

BITS_PER_KEY = 32  # a new key meets the bit of another once in 32 at most, and is left out: whichever arm it is in


@dataclass(frozen=True)
class SeenUnits:
    """One bit for every key that has counted, at the place of its hash."""

    bits: bytes

    @classmethod
    def for_keys(cls, expected: float) -> Self:
        """Nothing seen yet, with room for so many keys. More are not lost count of; they are left out more and more often."""
        return cls(bytes(2 ** math.ceil(math.log2(max(expected * BITS_PER_KEY, 1024))) // 8))

    def first(self, keys: pl.Series, salt: int) -> tuple[Array, Self]:
        """Whether each key counts, (n,) bool, being neither seen before nor earlier in `keys`; and what is seen then.

        The same key counts once for each `salt`.
        """
        place = (keys.hash(seed=salt).to_numpy() % (8 * len(self.bits))).astype(np.int64)
        byte, bit = place >> 3, (1 << (place & 7)).astype(np.uint8)
        bits = np.frombuffer(self.bits, dtype=np.uint8).copy()
        new = np.zeros(len(place), dtype=bool)
        new[np.unique(place, return_index=True)[1]] = True
        new &= (bits[byte] & bit) == 0
        np.bitwise_or.at(bits, byte, bit)
        return new, type(self)(bits.tobytes())

    def to_text(self) -> str:
        return base64.b85encode(zlib.compress(self.bits, 1)).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(zlib.decompress(base64.b85decode(text)))
