"""What a monitor found. Not here: the monitors (graph/watch_*.py)."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Seen:
    """What a monitor found: the check's verdict, its sentence, and the evidence."""

    passed: bool
    message: str
    metadata: dict[str, Any]
