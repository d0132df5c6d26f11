import pytest

from mlops_assets.foundation.home import IllegalEnvironment
from mlops_assets.serving.service import served_use_case
from mlops_assets.use_cases import USE_CASES


def test_an_undeclared_use_case_is_refused_with_the_legal_ones():
    with pytest.raises(IllegalEnvironment, match=r"found 'weather'; legal: flight_delay\. Set one of these\."):
        served_use_case({"MLOPS_USE_CASE": "weather"}, USE_CASES)
