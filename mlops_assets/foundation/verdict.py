"""The verdict of a monitor."""

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
