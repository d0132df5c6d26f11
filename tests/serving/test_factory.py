from pathlib import Path

import pytest

from mlops_assets.serving.factory import UnknownUseCase, open_service
from mlops_assets.use_cases import USE_CASES


def test_an_undeclared_use_case_is_refused_with_the_legal_ones(tmp_path: Path):
    with pytest.raises(UnknownUseCase, match=r"found 'weather'; legal: flight_delay\. Set one of these\."):
        open_service({"MLOPS_USE_CASE": "weather", "MLOPS_HOME": str(tmp_path)}, tmp_path, USE_CASES)
