"""What people read on assets, in words that the page can show."""

import json
import math
from typing import Any

from mlops_assets.graph.kernel.asset_metadata import rows_as_table


def test_nan_and_infinity_become_words() -> None:
    """JSON has no NaN, and the page shows no table that holds one."""
    table: Any = rows_as_table({"measured": value} for value in (0.123456, math.nan, math.inf, -math.inf))
    assert [record.data["measured"] for record in table.records] == [0.1235, "undefined", "undefined", "undefined"]
    json.dumps([record.data for record in table.records], allow_nan=False)
