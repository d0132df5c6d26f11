"""The example data: the breast cancer set of scikit-learn (Wolberg, Street and Mangasarian, 1995), one table."""

from collections.abc import Iterator
from datetime import date
from importlib.metadata import distribution
from pathlib import Path

import polars as pl

from mlops_assets.foundation.calendars import WHOLE_TABLE
from mlops_assets.foundation.delivery import Delivery
from mlops_assets.use_cases.tumor import MEASURES, SAMPLES, STATISTICS


def example(_first: date, _last: date) -> Iterator[Delivery]:
    """The whole table."""
    # Read without scikit-learn, whose import takes seconds. Its first line counts rows and names the classes: 0 is malignant.
    path = Path(str(distribution("scikit-learn").locate_file("sklearn/datasets/data/breast_cancer.csv")))
    columns = [*(f"{statistic}_{measure}" for statistic in STATISTICS for measure in MEASURES), "target"]
    rows = pl.read_csv(path, has_header=False, skip_rows=1, new_columns=columns).with_row_index("sample", offset=1)
    diagnosed = rows.with_columns(diagnosis=pl.when(pl.col("target") == 0).then(pl.lit("M")).otherwise(pl.lit("B")))
    yield Delivery(SAMPLES.table, WHOLE_TABLE, diagnosed.select(SAMPLES.names))
