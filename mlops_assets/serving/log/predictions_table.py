"""The table of all logged answers, each exactly once. A report costs what was logged since the last one, however long the log."""

from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from deltalake import CommitProperties, DeltaTable

from mlops_assets.foundation.delta_tables import APPENDED_OFTEN, alone, compact, open_table, recorded
from mlops_assets.foundation.names import EVENT_TIMESTAMP, PREDICTION_ID
from mlops_assets.foundation.stored_schema import with_types
from mlops_assets.serving.log.log_reader import LogRows, Progress, scan
from mlops_assets.serving.log.prediction_log import PredictionLog

PROGRESS = "mlops/log_progress"  # of a commit: how far the log was read for the rows that the table has since
DAYS = "mlops/days"  # of a commit that only adds rows: the days of their moments, in UTC


def report_predictions(path: Path, log: PredictionLog) -> LogRows:
    """Adds what the log has and the table has not, and records how far it was read, in one commit. `rows` are those added.

    What has left the log since, by retention or with a disk, stays in the table. Raises IncompatibleRows where such a row has
    no equal in the present types.
    """
    with alone(path):
        table = open_table(path)
        before = msgspec.json.decode((table and recorded(table, PROGRESS)) or "{}", type=Progress)
        logged = scan(log, before)
        logged = logged._replace(rows=logged.rows.unique(PREDICTION_ID, keep="first", maintain_order=True))
        facts = {PROGRESS: msgspec.json.encode(logged.progress).decode()}
        if table is None or before.types != logged.progress.types:
            rows = pl.concat([_rows_of_no_line(table, log, logged), logged.rows])
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(str(path), rows, facts, mode="overwrite", schema_mode="overwrite", configuration=APPENDED_OFTEN)
        elif before != logged.progress:
            logged = logged._replace(rows=_unknown(table, logged.rows))
            _write(table, logged.rows, facts | {DAYS: _days(logged.rows)}, mode="append")
            compact(table, facts | {DAYS: "[]"})
    return logged


def _days(rows: pl.DataFrame) -> str:
    days = rows[EVENT_TIMESTAMP].dt.date().drop_nulls().unique().sort()
    return msgspec.json.encode(days.to_list()).decode()


def _unknown(table: DeltaTable, rows: pl.DataFrame) -> pl.DataFrame:
    """Those that the table lacks: a segment that was restored, copied or edited is read again from its start."""
    stored, answered = pl.scan_delta(table), rows["answered_at"]
    if len(rows) and not answered.has_nulls():  # so that Parquet's statistics exclude all files but the newest
        stored = stored.filter(pl.col("answered_at") >= answered.min())
    known = stored.select(PREDICTION_ID).collect()
    return rows.join(known, on=PREDICTION_ID, how="anti", nulls_equal=True, maintain_order="left")


def _rows_of_no_line(table: DeltaTable | None, log: PredictionLog, logged: LogRows) -> pl.DataFrame:
    """The rows whose lines the log no longer has, by the present columns and types."""
    named = pl.concat([logged.rows[PREDICTION_ID], pl.Series(logged.unreadable_ids, dtype=pl.String)])
    stored = pl.scan_delta(table) if table else logged.rows.lazy()
    rows = stored.filter(~pl.col(PREDICTION_ID).is_in(named.implode())).collect()
    if rows.is_empty():
        return logged.rows.clear()
    former = {old: new for old, new in log.renamed.items() if old in rows.columns and new not in rows.columns}
    rows = rows.rename(former)
    fields = [_with_fields(name, rows.schema[name], dtype) for name, dtype in log.schema.items() if name in rows.columns]
    return with_types("predictions", rows.with_columns(fields), log.schema)


def _with_fields(name: str, old: pl.DataType, new: pl.DataType) -> pl.Expr:
    """As with columns, a field that is not declared any more is left out, and a new one is null."""
    if not (isinstance(old, pl.Struct) and isinstance(new, pl.Struct)):
        return pl.col(name)
    has, values = {field.name for field in old.fields}, pl.col(name).struct
    absent = {one.name: pl.lit(None, one.dtype).alias(one.name) for one in new.fields}
    return pl.struct(values.field(one) if one in has else null for one, null in absent.items()).alias(name)


def _write(target: str | DeltaTable, rows: pl.DataFrame, facts: dict[str, str], **options: Any) -> None:
    mode = options.pop("mode")
    rows.write_delta(target, mode=mode, delta_write_options={**options, "commit_properties": CommitProperties({**facts})})
