"""Evidently's pages: bounded, self-contained, silent towards the network and readable in a real browser."""

import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlops_assets.evaluation.report import drift_report, quality_report
from mlops_assets.tasks import task_of
from mlops_assets.use_cases.flight_delay import USE_CASE

pytestmark = pytest.mark.slow


def served(rows: int, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(rows)
    probability = rng.uniform(size=rows)
    return pl.DataFrame(
        {
            "wind": rng.normal(shift, 1, rows),
            "gust": pl.Series([None] * rows, dtype=pl.Float64),
            "origin": rng.choice(["JFK", "LGA"], rows),
            "probability": probability,
            "late": (rng.uniform(size=rows) < probability).astype(np.int8),
        }
    )


def drift_page(*drifted: str) -> str:
    before, now = served(900), served(700, 2.0)
    columns = {"numeric": ["wind", "gust"], "categorical": ["origin"]}
    return drift_report(before, now, drifted=drifted, seed=0, **columns)


@pytest.fixture(scope="module")
def page() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return drift_page("wind")


def shown(page: str, folder: Path) -> str:
    """The text of the page after a browser has run its scripts."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", f"--user-data-dir={folder / 'profile'}"]
    command = [browser, *flags, "--dump-dom", file.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return re.sub(r"<script.*?</script>|<[^>]+>", " ", dom, flags=re.DOTALL)


def test_the_drifted_input_is_visible_in_a_browser(page: str, tmp_path: Path) -> None:
    text = shown(page, tmp_path)
    assert "Drift is detected for 50.0% of columns (1 out of 2)" in text
    assert "wind" in text and "origin" in text


def test_the_page_never_contradicts_the_decision(tmp_path: Path) -> None:
    assert "Drift is detected for 50.0% of columns (1 out of 2)" in shown(drift_page("origin"), tmp_path)
    assert "Drift is detected for 0.0% of columns (0 out of 2)" in shown(drift_page(), tmp_path)


def test_an_input_without_values_is_left_out_instead_of_ending_the_report(page: str) -> None:
    assert '"wind"' in page and '"gust"' not in page


def test_decimals_and_booleans_with_missing_values_are_drawn_as_numbers() -> None:
    rows = served(60).select(
        price=pl.col("probability").cast(pl.Decimal(8, 2)),
        paid=pl.when(pl.col("late") == 1).then(pl.col("probability") > 0.5),
        grade=pl.col("probability").cast(pl.Decimal(4, 1)),
    )
    page = drift_report(rows, rows, numeric=["price", "paid"], categorical=["grade"], drifted=["price"], seed=0)
    assert '"price"' in page and '"paid"' in page and '"grade"' in page


def test_one_drifted_input_is_drift_of_the_whole(page: str, tmp_path: Path) -> None:
    assert "Dataset Drift is detected" in shown(page, tmp_path)
    assert "Dataset Drift is NOT detected" in shown(drift_page(), tmp_path)


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="no input has a value in both samples"):
        drift_report(served(10), served(0), numeric=["wind"], categorical=[], drifted=[], seed=0)


def test_a_classification_report_shows_quality_and_curves() -> None:
    page = quality_report(
        task_of(USE_CASE.task.but(threshold=0.3)),
        (rows := served(6000)),
        rows["late"].to_numpy(),
        rows["probability"].to_numpy(),
        seed=0,
    )
    assert "ROC AUC" in page and "Confusion Matrix" in page


def test_the_usage_logging_of_evidently_is_never_loaded() -> None:
    code = "import sys, mlops_assets.evaluation.report; print({'evidently.telemetry', 'iterative_telemetry'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "set()"
