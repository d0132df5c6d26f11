"""Features that are computed from tables in memory equal those of the feature store, on four real days."""

from datetime import UTC, datetime

import pytest
from polars.testing import assert_frame_equal

from mlops_assets.features.featurize import request_rows
from mlops_assets.features.offline.joined_views import JoinedViews
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.features.test_push import Line

NOW = datetime(2013, 2, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(tmp_path_factory.mktemp("flights"))


def test_every_feature_of_every_request_is_that_of_the_feature_store(line: Line) -> None:
    requests = request_rows(USE_CASE, line.validated["schedule"].lazy()).collect()
    joined = JoinedViews(USE_CASE, line.validated, now=NOW).historical(requests)
    assert_frame_equal(joined, line.store.historical(requests), check_dtypes=False)
    assert joined.drop_nulls(USE_CASE.features.views[0].descriptions).height > 500


def test_a_table_without_rows_leaves_its_features_missing(line: Line) -> None:
    requests = request_rows(USE_CASE, line.validated["schedule"].lazy()).collect()
    without = line.validated | {"weather": line.validated["weather"].clear()}
    joined = JoinedViews(USE_CASE, without, now=NOW).historical(requests)
    assert joined["temp"].null_count() == len(joined) > joined["seats"].null_count()
