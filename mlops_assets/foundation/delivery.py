"""What a source delivers for one partition: a file of the landing folder."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Delivery:
    """The rows of one table for one partition, whose type the table's grain decides (foundation/calendars.py)."""

    table: str
    partition: Any
    rows: "pl.DataFrame"
