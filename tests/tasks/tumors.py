"""The real Bento service of the minimal declaration, with rows that a small model learns from."""

import datetime as dt
import os

import numpy as np
import polars as pl

from deploy.service import build_service
from mlops_assets.serving.services import open_services
from mlops_assets.spec.gate import BeatsChampion, EverySlice, Fair, Floor, NoLeak, Robust
from mlops_assets.spec.monitor import Drift, Performance
from mlops_assets.spec.training import Search
from tests.spec.samples import TUMOR

DAYS, ROWS = 3, 200  # samples a day
# What is predicted and judged is declared; the split, features, trainer, request and service are the defaults.
USE_CASE = TUMOR.but(
    gates=(
        Floor(metric="auc", bound=0.85),
        BeatsChampion(),
        NoLeak(max_single_auc=1.0),
        Robust(max_drop=0.2),
        EverySlice(column="laboratory", metric="auc", bound=0.7, min_rows=20),
        Fair(column="stained", max_gap=0.5, min_rows=20),
    ),
    slices=("laboratory", "stained"),
    search=Search(trials=2, folds=3),
    monitors=(Performance(min_rows=20), Drift(min_rows=20, max_psi=100, max_new_share=0.99)),
)
Tumors = build_service((USE_CASE,), lambda: open_services(os.environ, (USE_CASE,)))


def samples(day: int) -> pl.DataFrame:
    """Large cells are malignant, more so from one laboratory."""
    rng, first = np.random.default_rng(day), ROWS * day
    radius, west = rng.uniform(5, 25, ROWS), rng.random(ROWS) < 0.5
    malignant = radius + 4 * west + rng.normal(0, 2, ROWS) > 17
    return pl.DataFrame(
        {
            "sample": range(first + 1, first + ROWS + 1),
            "patient": [f"p{number // 3}" for number in range(first, first + ROWS)],
            "radius": radius,
            "cells": rng.integers(10, 90, ROWS),
            "stained": rng.random(ROWS) < 0.5,
            "laboratory": np.where(west, "west", "east").tolist(),
            "taken_at": [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)] * ROWS,
            "diagnosis": np.where(malignant, "M", "B").tolist(),
        },
        schema_overrides={"taken_at": pl.Datetime("us", "UTC")},
    )
