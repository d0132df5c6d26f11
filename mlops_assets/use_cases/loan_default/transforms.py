"""The label."""

from __future__ import annotations

from mlops_assets.use_cases import polars_later as pl


def defaulted(outcomes: pl.LazyFrame) -> pl.LazyFrame:
    return outcomes.select("loan", defaulted=~pl.col("repaid"), known_at=pl.col("settled_at"))
