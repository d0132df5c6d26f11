"""The verdict of a monitor, and the result of a gate."""

from enum import StrEnum


class Verdict(StrEnum):
    """Missing or insufficient data is never healthy."""

    HEALTHY = "healthy"
    ALARM = "alarm"
    NOT_ENOUGH_DATA = "not enough data"

    @classmethod
    def healthy_if(cls, is_healthy: bool) -> "Verdict":
        """Otherwise an alarm."""
        return cls.HEALTHY if is_healthy else cls.ALARM


def gate_result(*, passed: bool, lacks_data: bool) -> str:
    """A gate always decides. Without enough data it says so, and is no plain pass."""
    return f"{'passed' if passed else 'FAILED'}{f', {Verdict.NOT_ENOUGH_DATA}' if lacks_data else ''}"
