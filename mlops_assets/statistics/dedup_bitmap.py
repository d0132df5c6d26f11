"""Which keys were already counted, in a few bits per key.

A client that repeats a request stays in its arm, so its rows are one draw: counted as many, they refute any claim in the end.
"""

import base64
import math
import zlib
from typing import NamedTuple, Self

import numpy as np
import polars as pl

from mlops_assets.statistics.metrics import Array

BITS_PER_KEY = 32  # a new key shares the bit of another, and is left out, once in 32 at most, in either arm


class DedupBitmap(NamedTuple):
    """One bit per counted key, at the position of its hash; bounded, as it is stored with the state of a rollout."""

    bits: bytes

    @classmethod
    def for_keys(cls, expected: float) -> Self:
        """Empty, sized for that many keys. Of further keys, an increasing share is left out."""
        return cls(bytes(2 ** math.ceil(math.log2(max(expected * BITS_PER_KEY, 1024))) // 8))

    def first(self, keys: pl.Series, salt: int) -> tuple[Array, Self]:
        """Whether each key counts, (n,) bool: neither counted before nor earlier in `keys`; and the bitmap afterwards.

        The same key counts once for each `salt`.
        """
        bits = np.unpackbits(np.frombuffer(self.bits, dtype=np.uint8), bitorder="little")
        positions = (keys.hash(seed=salt).to_numpy() % len(bits)).astype(np.int64)
        is_new = np.zeros(len(positions), dtype=bool)
        is_new[np.unique(positions, return_index=True)[1]] = True
        is_new &= bits[positions] == 0
        bits[positions] = 1
        return is_new, type(self)(np.packbits(bits, bitorder="little").tobytes())

    def to_text(self) -> str:
        return base64.b85encode(zlib.compress(self.bits, 1)).decode()

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(zlib.decompress(base64.b85decode(text)))
