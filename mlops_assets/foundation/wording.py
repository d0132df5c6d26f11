"""Words of messages for people."""

from collections.abc import Collection


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def some(values: Collection[object], limit: int = 8) -> str:
    """`1, 2, 3 and 40 others`: a message stays readable, however many values there are."""
    shown, others = [*values][:limit], len(values) - limit
    listed = ", ".join(map(str, shown)) or "none"
    return f"{listed} and {others} other{'s' * (others > 1)}" if others > 0 else listed
