"""Sources: where the rows of a table come from, and how its files arrive."""

from collections.abc import Iterator

from pydantic import Field

from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import AnyForm, Csv
from mlops_assets.spec.spec import Spec


class Daily(Spec):
    """One file a day."""


class WhenChanged(Spec):
    """A slowly changing table: a file only on the days that bring new or changed rows."""


class Files(Spec):
    """Files, one folder a table and one a day, in one form. A file above `max_bytes`, or with more once it is decompressed, is
    not read: its rows take many times that in memory.
    """

    table: str
    cadence: Daily | WhenChanged = Daily()
    form: AnyForm = Csv()
    max_bytes: int = Field(default=100_000_000, gt=0)

    def contract_problems(self, _contract: Contract) -> Iterator[str]:
        """What makes the source and the contract of its table illegal together, a sentence each."""
        yield from ()
