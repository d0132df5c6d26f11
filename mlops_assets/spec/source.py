"""Sources: where the rows of a table come from, and how its files arrive."""

from collections.abc import Iterator

from pydantic import Field

from mlops_assets.spec.contract import Contract
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

    def contract_problems(self, _contract: Contract) -> Iterator[str]:
        """What makes the source and the contract of its table illegal together, a sentence each."""
        yield from ()
