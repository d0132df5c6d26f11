"""Tables between assets, as the code location sees them: it loads without Polars.

Belongs here: the types that assets name in their signatures, and the IO managers by key. Not here: how a table is written
and read (graph/kernel/day_tables.py), and where the tables lie (resources.py).
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

DAY = {"partition_by": "day"}


def _polars_type(name: str) -> dg.DagsterType:
    def is_one(_context: dg.TypeCheckContext, value: object) -> bool:
        import polars as pl

        return isinstance(value, getattr(pl, name))

    return dg.DagsterType(is_one, name=name, description=f"A Polars {name}.")


if TYPE_CHECKING:
    from polars import DataFrame, LazyFrame
else:  # Dagster resolves the annotations of an asset when it is built
    DataFrame, LazyFrame = _polars_type("DataFrame"), _polars_type("LazyFrame")

__all__ = ["DAY", "DataFrame", "LazyFrame", "build_io_managers"]


def build_io_managers(tables: str, values: str) -> dict[str, Any]:
    """`tables` for Delta tables; `values` for the small frozen values between training assets."""

    def open_tables(context: dg.InitResourceContext) -> dg.IOManager:
        from mlops_assets.graph.kernel.day_tables import NEW_SCHEMA, OVERWRITE, DayTables

        opened = DayTables(base_dir=tables, mode=OVERWRITE, schema_mode=NEW_SCHEMA)
        opened.setup_for_execution(context)
        return opened

    files = dg.FilesystemIOManager(base_dir=values)
    return {"tables": dg.IOManagerDefinition(open_tables), "values": files, "io_manager": files}
