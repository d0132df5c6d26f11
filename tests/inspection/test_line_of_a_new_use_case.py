"""A proposed declaration, without any edit, from its file to a blessed model."""

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import WHOLE_TABLE
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.ingestion.landed_values import typed
from mlops_assets.inspection.new_use_case import NewUseCase
from mlops_assets.inspection.table_file import read_table_file
from tests.graph.line import Line, failed_checks, failure, running_line
from tests.inspection.messy_tables import CLEAN
from tests.inspection.test_new_use_case import made

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(400)]
DELIMITERS = {"german": ";"}


def land(line: Line, new: NewUseCase, delimiter: str) -> list[str]:
    """The rows of the file, in a file for each of their days; returns the keys of the days."""
    table, source, contract = read_table_file(new.file), new.use_case.sources[0], new.use_case.contracts[0]
    texts = table.rows.drop("source_line")
    day = pl.lit(WHOLE_TABLE)
    if contract.day:
        column = contract.column(contract.day)
        place = table.distinct_headers.index(column.header)
        day = typed(column.but(name=f"c{place}"), source.form).cast(pl.Date())
    calendar = table_calendar(new.use_case, source.table)
    parts = texts.with_columns(partition=day).partition_by("partition", as_dict=True, include_key=False)
    for (partition,), rows in parts.items():
        path = line.landing.of(source.form).path("model", source.table, partition, calendar)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rows.rename(dict(zip(rows.columns, table.headers, strict=True))).write_csv(separator=delimiter))
    return sorted(calendar.key(partition) for (partition,) in parts)


@pytest.mark.parametrize("case", ["german", "by day", "imbalanced text"])
def test_it_is_trained_and_blessed(tmp_path: Path, case: str) -> None:
    new = made(tmp_path, *CLEAN[case])
    with running_line(tmp_path, new.use_case) as line:
        keys = land(line, new, DELIMITERS.get(case, ","))
        range_of = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        stages = [dg.AssetKey(path) for path in line.stages(new.use_case.sources[0].table)]
        tags = range_of if len(keys) > 1 else {}
        ingested = line.job.execute_in_process(asset_selection=stages, instance=line.instance, tags=tags, raise_on_error=False)
        assert ingested.success and failed_checks(ingested) == {}, (failure(ingested), failed_checks(ingested))
        training = line.definitions.resolve_job_def(names.job("model", "training"))
        trained = training.execute_in_process(instance=line.instance, raise_on_error=False)
        assert trained.success, (failure(trained), failed_checks(trained))
        assert len(line.rows(names.stage("model", "training_set"))) >= 0.9 * new.rows
