"""Whether a month of predictions is reported at the same cost in month 24 as in month 2: CPU seconds of its daily reports, in one
run. Beside them, what one report costs that reads the whole log and replaces the table. It ends with code 1 past the bound.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops_assets.serving.log.log_reader import scan
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.log.predictions_table import report_predictions
from tests.cli.loans import LOANS

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS, SEGMENT_BYTES = 30, 4_000_000
MAX_RATIO = 1.5  # of the mean of the last three months and of months 2 to 4; the first has imports in it


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def log_day(log: PredictionLog, day: int, rows: int) -> None:
    nothing = dict.fromkeys(log.schema)
    for number in range(rows):
        at = START + timedelta(days=day, seconds=number)
        values = {"prediction_id": f"{day:06d}-{number}", "answered_at": at, "event_timestamp": at, "customer": f"c{number % 97}"}
        log.append([nothing | values | {"amount": number / 7, "probability": number % 100 / 100, "plan": 1}])


def let_a_day_pass(table: Path) -> None:
    """For the table, which removes commits by the age of their files."""
    for file in (table / "_delta_log").iterdir():
        at = file.stat().st_mtime - 86_400
        os.utime(file, (at, at))


def replace(log: PredictionLog, path: Path) -> None:
    rows = scan(log).rows.unique("prediction_id", keep="first", maintain_order=True)
    rows.write_delta(str(path), mode="overwrite")


def run(months: int, rows: int, folder: Path) -> int:
    log = PredictionLog(folder / "logs", LOANS, segment_bytes=SEGMENT_BYTES)
    costs, whole = list[float](), list[float]()
    for month in range(months):
        cost = 0.0
        for day in range(DAYS):
            log_day(log, month * DAYS + day, rows)
            cost += cpu(lambda: report_predictions(folder / "predictions.delta", log))
            let_a_day_pass(folder / "predictions.delta")
        costs.append(cost)
        whole.append(cpu(lambda: replace(log, folder / "replaced.delta")))
        print(f"month {month + 1:2}: {cost:6.2f} s of CPU for {DAYS} reports; one that reads all: {whole[-1]:6.2f} s", flush=True)
    ratio = statistics.mean(costs[-3:]) / statistics.mean(costs[1:4])
    print(
        f"last three months / months 2 to 4: {ratio:.2f} (at most {MAX_RATIO}); of reports that read all {whole[-1] / whole[1]:.1f}"
    )
    return int(ratio > MAX_RATIO)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--rows", type=int, default=1000, help="a day")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return run(arguments.months, arguments.rows, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
