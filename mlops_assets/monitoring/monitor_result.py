"""The result of a monitor: its verdict and the evidence for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class MonitorResult:
    """`pictures` are PNG bytes by name, `page` is an HTML document."""

    passed: bool
    message: str
    figures: Mapping[str, Any]
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict[str, Sequence[Row]])
    pictures: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    page: str | None = None


def too_few(rows: int, needed: int, of: str) -> MonitorResult:
    """Passes: there is not enough data for a verdict."""
    return MonitorResult(True, f"{rows} {of} in the window; a verdict needs {needed}.", {"rows": rows})
