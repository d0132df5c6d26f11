"""The example data: the handwritten digits of scikit-learn (Alpaydin and Kaynak, 1998), one table."""

from collections.abc import Iterator
from datetime import date
from importlib.metadata import distribution
from pathlib import Path

import polars as pl

from mlops_assets.foundation.calendars import WHOLE_TABLE
from mlops_assets.foundation.delivery import Delivery
from mlops_assets.use_cases.handwriting import IMAGES, PIXELS


def example(_first: date, _last: date) -> Iterator[Delivery]:
    """The whole table."""
    # Read without scikit-learn, whose import takes seconds.
    path = Path(str(distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")))
    rows = pl.read_csv(path, has_header=False, new_columns=[*PIXELS, "digit"]).with_row_index("image")
    pixels = rows.with_columns(pl.col(PIXELS).cast(pl.Int64), pl.col("digit").cast(pl.Int64).cast(pl.String))
    yield Delivery(IMAGES.table, WHOLE_TABLE, pixels.select(IMAGES.names))
