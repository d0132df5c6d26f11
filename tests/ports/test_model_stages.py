"""What MLflow shows of a model: set, read back and set again, on a real MLflow."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowException

from mlops_assets.ports.model_registry import ModelRegistry
from mlops_assets.ports.model_stages import Shown, show, shown_of
from mlops_assets.stages.signature import digest

VERSIONS = (1, 2, 3)
STAGES = st.sampled_from(["Development", "Staging", "Production", "Archived"])
SHOWN = st.builds(
    Shown,
    st.integers(1, 50),
    st.dictionaries(st.sampled_from(["champion", "challenger"]), st.sampled_from(VERSIONS)),
    st.fixed_dictionaries({version: STAGES for version in VERSIONS}),
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """With three versions of `line`."""
    registry = ModelRegistry(tmp_path_factory.mktemp("mlflow"))
    with registry.track("a run", experiment="line", tags={}, params={}) as run:
        for version in VERSIONS:
            onnx = b"%d" % version
            registry.register("line", onnx, digest=digest(onnx), run_id=run.run_id, tags={}, description="A model.")
    return registry


def test_nothing_is_shown_of_a_model_that_nobody_registered(registry: ModelRegistry) -> None:
    assert shown_of(registry, "never_registered") == Shown(0, {}, {})


def test_a_model_that_was_never_mirrored_shows_no_record_alias_or_stage(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    with registry.track("a run", experiment="line", tags={}, params={}) as run:
        registry.register("line", b"1", digest=digest(b"1"), run_id=run.run_id, tags={}, description="A model.")
    assert shown_of(registry, "line") == Shown(0, {}, {1: None})


@settings(max_examples=15, deadline=None)
@given(one=SHOWN, other=SHOWN)
def test_whatever_was_shown_before_exactly_what_is_shown_is_read_back(registry: ModelRegistry, one: Shown, other: Shown) -> None:
    for shown in (one, other, other):
        show(registry, "line", shown)
        assert shown_of(registry, "line") == shown


def test_other_tags_of_a_version_stay(registry: ModelRegistry) -> None:
    registry.client.set_model_version_tag("line", "2", "note", "keep me")
    show(registry, "line", Shown(3, {"champion": 2}, dict.fromkeys(VERSIONS, "Archived")))
    assert registry.versions("line")[1].tags["note"] == "keep me"


@pytest.mark.parametrize(
    "edit",
    [
        lambda client: client.set_registered_model_alias("line", "champion", "3"),
        lambda client: client.delete_registered_model_alias("line", "champion"),
        lambda client: client.set_registered_model_alias("line", "favourite", "3"),
        lambda client: client.set_model_version_tag("line", "1", "stage", "Staging"),
        lambda client: client.delete_model_version_tag("line", "1", "stage"),
        lambda client: client.set_registered_model_tag("line", "ledger_record", "2"),
        lambda client: client.set_registered_model_tag("line", "ledger_record", "seven"),
    ],
    ids=["alias moved", "alias deleted", "alias added", "stage changed", "stage deleted", "record changed", "record damaged"],
)
def test_every_edit_by_others_is_seen_and_undone(registry: ModelRegistry, edit: Callable[[object], None]) -> None:
    shown = Shown(7, {"champion": 1, "challenger": 2}, {1: "Production", 2: "Staging", 3: "Archived"})
    show(registry, "line", shown)
    edit(registry.client)
    assert shown_of(registry, "line") != shown
    show(registry, "line", shown)
    assert shown_of(registry, "line") == shown


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (Shown(9, {"champion": 8}, {}), "Model Version .*version=8.* not found"),
        (Shown(9, {}, {8: "Production"}), "Model Version .*version=8.* not found"),
    ],
    ids=["alias", "stage"],
)
def test_a_version_that_mlflow_lost_is_told_and_the_record_does_not_vouch_for_it(
    registry: ModelRegistry, shown: Shown, found: str
) -> None:
    show(registry, "line", Shown(5, {}, dict.fromkeys(VERSIONS, "Archived")))
    with pytest.raises(MlflowException, match=found):
        show(registry, "line", shown)
    assert shown_of(registry, "line").record == 5
