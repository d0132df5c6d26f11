"""A small table in one Parquet file, with a text that says what it was made from: both are replaced at once, or neither."""

from io import BytesIO
from pathlib import Path

import polars as pl

from mlops_assets.foundation.atomic_file import replace_file

MADE_FROM = "mlops/made_from"


def read_frame(file: Path) -> tuple[pl.DataFrame, str] | None:
    """The rows and the text; None where there is no file, or none that can be read: what it stores can be made again."""
    try:
        content = file.read_bytes()
        return pl.read_parquet(BytesIO(content)), pl.read_parquet_metadata(BytesIO(content))[MADE_FROM]
    except (FileNotFoundError, KeyError, pl.exceptions.PolarsError):
        return None


def write_frame(file: Path, rows: pl.DataFrame, made_from: str) -> None:
    buffer = BytesIO()
    rows.write_parquet(buffer, compression="uncompressed", statistics=False, metadata={MADE_FROM: made_from})
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, buffer.getvalue())
