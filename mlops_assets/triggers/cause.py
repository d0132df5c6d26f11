"""What a trigger finds: a cause to train, or why there is none."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self


@dataclass(frozen=True)
class Cause:
    """`symptoms` name what is wrong, without figures that differ from one look to the next: a training for them has been tried
    once it has ended. Where newer data may help, `is_renewed_by_data`, they are a new cause with newer data. `healthy_at` is when
    all was well, where that is known: trainings before it were for an earlier cause.
    """

    symptoms: frozenset[str]
    message: str
    is_renewed_by_data: bool = False
    healthy_at: datetime | None = None

    @classmethod
    def none(cls, message: str) -> Self:
        """There is no cause, and why."""
        return cls(frozenset(), message)

    @property
    def exists(self) -> bool:
        return bool(self.symptoms)
