"""Sources: where the rows of a table come from, and how its files arrive."""

import re
from collections.abc import Iterator

from pydantic import Field

from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import AnyForm, Csv
from mlops_assets.spec.grain import Daily, Grain, Hourly, Snapshot
from mlops_assets.spec.spec import Name, Spec


class Files(Spec):
    """Files, one folder a table and one file for each partition of the grain, in one form; `only_when_changed`: only for those
    that bring new or changed rows. A file above `max_bytes`, or with more once it is decompressed, is not read: its rows take
    many times that in memory. `path`: an address with a pattern of names, from which files of the usual names are copied into
    the landing folder.
    """

    table: Name
    grain: Grain = Daily()
    form: AnyForm = Csv()
    only_when_changed: bool = False
    max_bytes: int = Field(default=100_000_000, gt=0)
    path: str | None = None

    @property
    def logos(self) -> tuple[str, ...]:
        """In Dagster: where the rows come from, and the form of their files."""
        return (self.form.LOGO,)

    def contradictions(self) -> Iterator[str]:
        if self.only_when_changed and isinstance(self.grain, Snapshot):
            yield "only_when_changed · a Snapshot is always delivered only then. Leave it out."
        if self.path is None:
            return
        if not re.match(r"[a-z0-9]+://|/", self.path) or "*" not in self.path.rsplit("/", 1)[-1]:
            legal = "an address with a pattern of names, such as s3://bucket/orders/*.csv"
            yield f"path · {self.path!r}; legal: {legal}. Correct it."
        if re.match(r"[a-z0-9]+://[^/]*@", self.path) and not self.path.startswith("abfs"):
            yield "path · it has a user or password; legal: credentials in the environment of the process. Remove them."

    def contract_problems(self, contract: Contract) -> Iterator[str]:
        """What makes the source and the contract of its table illegal together, a sentence each."""
        names = self.form.names if isinstance(self.form, Csv) else ()
        needed = [column.header for column in contract.columns if not (column.since or column.renamed_from)]
        if names and (missing := ", ".join(name for name in needed if name not in names)):
            yield f"sources[{self.table}].form.names · they lack columns of the contract: {missing}. Add them."
        if isinstance(self.grain, Hourly) and contract.day in contract.names and contract.column(contract.day).dtype == "date":
            found = f"{contract.day!r} is a date, which has no hour"
            yield f"contracts[{self.table}].day · {found}; legal: a datetime. Use one, or another grain."
