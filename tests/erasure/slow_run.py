"""A run that has read customer ONE and writes once `root`/go is there: `python slow_run.py ROOT`."""

import sys
import time
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.spec.feature import Tables
from tests.erasure.shop import FIRST, LAST, SHOP, customer_spend, environment_of
from tests.graph.line import Line, failure

if __name__ == "__main__":
    root = Path(sys.argv[1])

    def slowly(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
        rows = customer_spend(tables, start, end).collect()
        (root / "read").touch()
        while not (root / "go").exists():
            time.sleep(0.05)
        return rows.lazy()

    view, *others = SHOP.features.views
    use_case = SHOP.but(features=SHOP.features.but(views=(view.but(transform=slowly), *others)))
    with dg.DagsterInstance.ephemeral(str(root)) as instance:
        result = Line(environment_of(root), use_case, instance).run(names.feature("shop", view.name), first=FIRST, last=LAST)
    assert result.success, failure(result)
