"""What live servers have counted, read from their metrics every few minutes, and kept as the rows of a small table."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, cast

import polars as pl
from deltalake import DeltaTable
from prometheus_client.parser import text_string_to_metric_families

from mlops_assets.foundation.delta_tables import APPENDED_OFTEN, alone, compact, open_table
from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.serving.client import LiveService

AT = "sampled_at"
COUNTED = pl.List(pl.Struct({"counter": pl.String, "count": pl.Float64}))
SCHEMA = {
    AT: pl.Datetime("us", "UTC"),
    "server": pl.String,
    "process": pl.Float64,
    "resident_mb": pl.Float64,
    "counters": COUNTED,
}
STATUS, LATENCY = "requests_", "answers_within_"  # a counter for each status, and each edge of the latency in seconds
PREDICTIONS, ANSWER_S, PROCESS_ANSWER_S, CPU_S = "predictions", "answer_s", "process_answer_s", "cpu_s"
OF_PROCESS = ("process_", "mlops_answer_seconds_sum")


class Sample(NamedTuple):
    """What one process of `server` had counted at `sampled_at`, since it started. `process` is the Unix time of its start, and
    None where the server did not answer.
    """

    sampled_at: datetime
    server: str
    process: float | None
    resident_mb: float | None
    counters: dict[str, float]


def sample_servers(services: Sequence[LiveService], use_case: str, *, now: datetime) -> list[Sample]:
    """One for each server; those that answer for other use cases only are left out, unless all do. Closes the services."""

    def read(service: LiveService) -> Sample | None:
        with service:
            page = service.metrics()
        return Sample(now, service.url, None, None, {}) if page is None else read_page(page, use_case, service.url, now=now)

    with ThreadPoolExecutor(max_workers=max(len(services), 1)) as threads:  # a server that hangs takes 2 s
        return [sample for sample in threads.map(read, services) if sample]


def read_page(page: str, use_case: str, server: str, *, now: datetime) -> Sample | None:
    """None where the page has nothing of the use case. Metrics of other use cases, which may be many, are not parsed."""
    own = f'use_case="{use_case}"'
    lines = [line for line in page.splitlines() if own in line or line.startswith(OF_PROCESS)]
    process, resident_mb, counters = None, None, defaultdict[str, float](float)
    for family in text_string_to_metric_families("\n".join([*lines, ""])):
        for name, labels, value, *_ in family.samples:
            is_own = labels.get("use_case") == use_case
            match name:
                case "mlops_started_seconds" if is_own:
                    process = value
                case "mlops_requests_total" if is_own:
                    counters[f"{STATUS}{labels['status']}"] += value
                case "mlops_answer_seconds_bucket" if is_own:
                    counters[f"{LATENCY}{float(labels['le'])}"] += value
                case "mlops_predictions_total" if is_own:
                    counters[PREDICTIONS] += value
                case "mlops_answer_seconds_sum":
                    counters[PROCESS_ANSWER_S] += value
                    counters[ANSWER_S] += value * is_own
                case "process_cpu_seconds_total":
                    counters[CPU_S] = value
                case "process_resident_memory_bytes":
                    resident_mb = value / 1e6
                case _:
                    pass
    return None if process is None else Sample(now, server, process, resident_mb, {**counters})


def add_samples(path: Path, samples: Sequence[Sample], *, keep: timedelta) -> list[Sample]:
    """Appends to the table, and returns all of the last `keep` before them, in their order. Older rows are deleted once a day."""
    rows = pl.DataFrame([_row(sample) for sample in samples], SCHEMA)
    with alone(path):
        rows.write_delta(str(path), mode="append", delta_write_options={"configuration": APPENDED_OFTEN})
        table = cast(DeltaTable, open_table(path))
        compact(table, {})
        stored = pl.scan_delta(table).collect().sort(AT, "server", maintain_order=True)
        since = cast(datetime, stored[AT].max()) - keep
        if cast(datetime, stored[AT].min()) < since - ONE_DAY:
            table.delete(f"{AT} < TIMESTAMP '{since.isoformat()}'")
    return [_sample(row) for row in stored.filter(pl.col(AT) >= since).iter_rows(named=True)]


def _row(sample: Sample) -> dict[str, object]:
    counters = [{"counter": name, "count": count} for name, count in sample.counters.items()]
    return {**sample._asdict(), "counters": counters}


def _sample(row: dict[str, object]) -> Sample:
    counters = cast(list[dict[str, object]], row["counters"])
    counted = {cast(str, one["counter"]): cast(float, one["count"]) for one in counters}
    return Sample(**row | {"counters": counted})  # pyright: ignore[reportArgumentType] - the columns of SCHEMA
