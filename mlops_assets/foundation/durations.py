"""Durations in words."""

from datetime import timedelta

ONE_DAY = timedelta(days=1)


def in_words(duration: timedelta) -> str:
    """To the minute, or to the second below one: `30 days`, `1 day 12 h`, `6 h 5 min`, `5 s`."""
    hours, minutes = divmod(duration.seconds // 60, 60)
    days = f"{duration.days:,} day{'s' * (duration.days != 1)}"
    parts = [days] * bool(duration.days) + [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes)
    return " ".join(parts) or (f"{duration.seconds} s" if duration.seconds else "0 h")
