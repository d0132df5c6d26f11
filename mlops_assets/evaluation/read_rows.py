"""Reads the rows of a use case to inspect or try them: validated by its contracts, with all features, and nothing is written."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from mlops_assets.features.featurize import IllegalFeatures, add_features, label_rows, training_rows
from mlops_assets.features.lineage import column_types
from mlops_assets.features.offline.joined_views import JoinedViews
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import Partition
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.home import Home
from mlops_assets.ingestion.flat_file import choose_table
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.inspection.inspected import Inspected
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.use_case import UseCase

MOST_REQUESTS = 500_000  # of a larger table some are drawn by their key: 20 columns of 500,000 rows are 80 MB


class NoRows(LookupError):
    """A use case of which no request or no label has landed."""


class Rows(NamedTuple):
    """Accepted and refused rows of a table, and what they were read from."""

    accepted: pl.DataFrame
    refused: pl.DataFrame
    origin: str


def read_rows(use_case: UseCase, *, home: Home, files: Mapping[str, Path], now: datetime) -> Inspected:
    """Each table from its file in `files`, or else from the tables of the home, or else from its landed files.

    Raises NoRows, BrokenDelivery, IllegalFlatFile.
    """
    read = {contract.table: _read(use_case, contract, home, files) for contract in use_case.contracts}
    for table in dict.fromkeys((use_case.features.request_table, use_case.label.table)):
        if not len(read[table].accepted) + len(read[table].refused):
            nowhere = f"neither its validated table nor its landing folder in {home.root} has one"
            place = f"{files[table].name} has none" if table in files else nowhere
            raise NoRows(f"{use_case.name} · no row of {table}: {place}. Pass a file with --file, or land files first.")
    accepted = {table: rows.accepted for table, rows in read.items()}
    refused = {table: rows.refused for table, rows in read.items() if len(rows.refused)}
    inspected = inspect_tables(use_case, accepted, refused, now=now)
    return replace(inspected, origins={table: rows.origin for table, rows in read.items() if len(rows.accepted)})


def inspect_tables(
    use_case: UseCase,
    tables: Mapping[str, pl.DataFrame],
    refused: Mapping[str, pl.DataFrame],
    *,
    now: datetime,
    most_requests: int = MOST_REQUESTS,
) -> Inspected:
    """`tables` are the accepted rows of every table, with the columns of their partition."""
    drawn, truths = _drawn(use_case, tables, most_requests), tables[use_case.label.table].lazy()
    rows, problem = label_rows(use_case, drawn.lazy(), truths).collect(), ""
    try:
        parts = training_rows(use_case, drawn.lazy(), truths, now=now)
        others = rows.join(parts, on=[*use_case.label.key, names.EVENT_TIMESTAMP], how="anti", nulls_equal=True)
        rows = pl.concat([parts, others], how="diagonal_relaxed").sort(names.EVENT_TIMESTAMP, *use_case.label.key)
    except IllegalFeatures as error:
        rows, problem = rows.with_columns(split=pl.lit(None, pl.String())), str(error)
    if use_case.features.views:
        rows = add_features(use_case, rows, JoinedViews(use_case, tables, now=now), now=now)
    return Inspected(use_case, tables, drawn, rows, now, refused, problem)


def _drawn(use_case: UseCase, tables: Mapping[str, pl.DataFrame], most: int) -> pl.DataFrame:
    """The requests, of many a part with all versions of each."""
    requests, unique = tables[use_case.features.request_table], use_case.contract(use_case.features.request_table).unique
    parts = -(-len(requests) // most)
    return requests if parts < 2 else requests.filter(pl.struct(unique).hash(names.SEED) % parts == 0)


def _read(use_case: UseCase, contract: Contract, home: Home, files: Mapping[str, Path]) -> Rows:
    """Of a table without any rows an empty one."""
    table, calendar = contract.table, table_calendar(use_case, contract.table)
    if table in files:
        flat = choose_table(use_case, table, files[table])
        return Rows(*split_rows(flat.read(), contract, flat.form, calendar), files[table].name)
    empty, tables = pl.DataFrame(schema=column_types(contract, calendar)), DeltaTables(home.tables)
    stored = {name(use_case.name, table)[-1]: name(use_case.name, table) for name in (names.validated, names.quarantine)}
    validated, quarantine = stored.values()
    if tables.exists(validated):
        accepted = pl.concat([empty, tables.scan(validated).collect()], how="diagonal_relaxed")  # a new column is missing in it
        return Rows(accepted, tables.scan(quarantine).collect(), "validated tables")
    source = use_case.source(table)
    landing = Landing(home.landing, form=source.form)
    keys = [landing.key_of(file.name, calendar) for file in landing.files(use_case.name, table, calendar=calendar)]
    partitions = [*calendar.in_run(keys)] if keys else list[Partition]()
    raw = landing.read(use_case.name, contract, partitions, required=False, calendar=calendar, max_bytes=source.max_bytes)
    return Rows(*split_rows(raw, contract, source.form, calendar), "landed files")
