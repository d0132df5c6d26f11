"""Durations in words."""

from datetime import timedelta

ONE_DAY = timedelta(days=1)
SKEW = timedelta(minutes=1)  # by which the clocks of two machines may differ


def in_words(duration: timedelta) -> str:
    """To the minute, or to the second below one: `30 days`, `1 day 12 h`, `6 h 5 min`, `5 s`."""
    hours, minutes = divmod(duration.seconds // 60, 60)
    days = f"{duration.days:,} day{'s' * (duration.days != 1)}"
    parts = [days] * bool(duration.days) + [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes)
    return " ".join(parts) or (f"{duration.seconds} s" if duration.seconds else "0 h")


def is_over(passed: timedelta, pause: timedelta) -> bool:
    """Whether what has passed since a stored moment is at least `pause`. A moment that is still to come is that of a clock which
    was set back since: how long ago it was is unknown, and nothing waits for it.
    """
    return passed >= pause or passed < -SKEW
