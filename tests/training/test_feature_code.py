"""What computes the features of a version, recorded with its training and compared with the present code."""

from typing import Any

from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.request_feature import Difference, MinuteOfDay, RequestFeature
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.feature_code import changed_features, record_feature_code
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import with_zone

FEATURES = USE_CASE.features


def changed(use_case: UseCase, **training: str) -> list[str]:
    recorded = record_feature_code(USE_CASE) | training
    return [*changed_features(use_case, recorded, FEATURES.inputs)]


def with_features(*features: RequestFeature) -> UseCase:
    return USE_CASE.but(features=FEATURES.but(request_features=features))


def test_the_same_declaration_has_the_same_code_and_a_release_that_recorded_none_names_nothing() -> None:
    assert changed(USE_CASE) == []
    assert [*changed_features(with_zone("UTC"), {}, FEATURES.inputs)] == []


def test_a_request_feature_in_another_zone_is_named_where_the_version_reads_it() -> None:
    assert changed(with_zone("UTC")) == ["minute_of_day"]
    others = [name for name in FEATURES.inputs if name != "minute_of_day"]
    assert [*changed_features(with_zone("UTC"), record_feature_code(USE_CASE), others)] == []


def test_a_feature_is_computed_otherwise_when_one_that_it_reads_is() -> None:
    base = MinuteOfDay(name="departs", column="sched_dep")
    twice = Difference(name="minute_of_day", column="departs", minus="departs")
    before, after = with_features(base, twice), with_features(base.but(zone="Europe/Berlin"), twice)
    assert [*changed_features(after, record_feature_code(before), ["minute_of_day"])] == ["minute_of_day"]


def test_a_view_with_another_transform_is_named() -> None:
    def transform(*_: Any) -> Any:
        return None

    first, *others = FEATURES.views
    views: tuple[FeatureView, ...] = (first.but(transform=transform), *others)
    assert changed(USE_CASE.but(features=FEATURES.but(views=views))) == [first.name]
