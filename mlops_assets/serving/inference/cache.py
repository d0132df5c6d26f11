"""Scores of inputs that were scored before, in the memory of this process."""

import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np
from cachetools import TTLCache
from numpy.typing import NDArray

from mlops_assets.spec.serving import Cache

KEY_BYTES = 16


class MemoryScores:
    """Thread-safe. The least recently used scores are dropped first. `clock` is monotonic, in seconds."""

    def __init__(self, word: Cache, clock: Callable[[], float]) -> None:
        self._scores = TTLCache[bytes, float, float](word.max_entries, word.ttl.total_seconds(), clock)
        self._lock = threading.Lock()

    def read(self, keys: Sequence[bytes]) -> list[float | None]:
        """One score for each key; None where none is known."""
        with self._lock:
            return [self._scores.get(key) for key in keys]

    def write(self, keys: Sequence[bytes], scores: Sequence[float]) -> None:
        with self._lock:
            self._scores.update(zip(keys, scores, strict=True))


def score_keys(matrix: NDArray[np.float32], digest: str) -> list[bytes]:
    """One key of KEY_BYTES for each row of `matrix` (rows, inputs), under the model of that digest: equal bytes, equal key."""
    model = blake2b(digest.encode(), digest_size=KEY_BYTES).digest()
    content, width = memoryview(matrix.tobytes()), matrix.shape[1] * matrix.itemsize
    rows = (content[start : start + width] for start in range(0, len(content), width))
    return [blake2b(row, digest_size=KEY_BYTES, key=model).digest() for row in rows]
