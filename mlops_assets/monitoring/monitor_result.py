"""The result of a monitor: its verdict and the evidence for people."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple


class MonitorResult(NamedTuple):
    """`tables` are rows and `pictures` PNG bytes, by name; `page` is an HTML document."""

    passed: bool
    message: str
    figures: Mapping[str, Any]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({})
    pictures: Mapping[str, bytes] = MappingProxyType({})
    page: str | None = None


def too_few(rows: int, needed: int, of: str) -> MonitorResult:
    """Passes: there is not enough data for a verdict."""
    return MonitorResult(True, f"{rows} {of} in the window; a verdict needs {needed}.", {"rows": rows})
