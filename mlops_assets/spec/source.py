"""Sources: where the rows of a table come from, and how its files arrive."""

from pydantic import Field

from mlops_assets.spec.spec import Spec


class Daily(Spec):
    """One file a day."""


class WhenChanged(Spec):
    """A slowly changing table: a file only on the days that bring new or changed rows."""


class Files(Spec):
    """CSV files, one folder a table and one file a day. A file above `max_bytes` is not read: its rows take many times that
    in memory.
    """

    table: str
    cadence: Daily | WhenChanged = Daily()
    max_bytes: int = Field(default=100_000_000, gt=0)
