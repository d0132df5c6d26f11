"""Counts the words of a text by a stable hash."""

import re
from functools import lru_cache
from zlib import crc32

WORD = re.compile(r"\w+")


def count_words(buckets: int, bucket: int, text: str) -> float:
    """How many words, in lower case, hash to the bucket."""
    return float(_buckets_of(text, buckets).count(bucket))


@lru_cache(maxsize=1024)  # the next bucket of the same text follows at once
def _buckets_of(text: str, buckets: int) -> tuple[int, ...]:
    return tuple(crc32(word.encode("utf-8", "surrogatepass")) % buckets for word in WORD.findall(text.lower()))
