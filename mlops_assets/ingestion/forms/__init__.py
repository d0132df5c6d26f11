"""One reader for each form of files."""

import io
from typing import Any, BinaryIO, cast

from mlops_assets.ingestion.forms.csv import read_csv
from mlops_assets.ingestion.forms.decompressed import decompressed
from mlops_assets.ingestion.forms.excel import read_excel
from mlops_assets.ingestion.forms.json_lines import read_json_lines
from mlops_assets.ingestion.forms.kind import require_text
from mlops_assets.ingestion.forms.parquet import read_parquet
from mlops_assets.ingestion.forms.table import Reader, Table
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Csv, Excel, Form, JsonLines, Parquet

READERS: dict[type[Form], Reader] = {Csv: read_csv, Parquet: read_parquet, JsonLines: read_json_lines, Excel: read_excel}


def read_table(file: BinaryIO, name: str, form: Form, *, contract: Contract, max_bytes: int) -> Table:
    """The table in a file of this name. Raises UnreadableFile, also while its rows are read."""
    content = io.BufferedReader(cast(Any, decompressed(io.BufferedReader(cast(Any, file)), name, max_bytes)))
    if not form.TYPED:
        require_text(content, form)
    return READERS[type(form)](content, form, contract=contract, max_bytes=max_bytes)
