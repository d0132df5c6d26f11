"""MLflow as a mirror of the ledger, on a real MLflow: every edit of other people is found and repaired."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.promotion.mlflow_aliases import STAGE
from mlops_assets.training.model_registry import ModelRegistry
from tests.promotion.mirrored_line import MirroredLine


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    return ModelRegistry(tmp_path_factory.mktemp("mlflow"))


def line_below(root: Path, registry: ModelRegistry) -> MirroredLine:
    """Versions 1 to 5: former champion, rolled back, champion, challenger, not tried yet."""
    line = MirroredLine(root, registry)
    for version in (1, 2, 3, 4, 5):
        line.train(version)
    line.bless(1, 2, 3, 4)
    line.promote(1, 2)
    line.promotions.roll_back(**line.attribution())
    line.promote(3)
    line.promotions.route(challenger=4, share=0.1, **line.attribution())
    line.mirror()
    return line


@pytest.fixture
def line(tmp_path: Path, registry: ModelRegistry) -> MirroredLine:
    return line_below(tmp_path, registry)


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory, registry: ModelRegistry) -> MirroredLine:
    """For edits that are reverted afterwards."""
    return line_below(tmp_path_factory.mktemp("edited"), registry)


def test_aliases_and_stages_show_champion_challenger_and_earlier_versions(line: MirroredLine):
    stages = {1: "Archived", 2: "Archived", 3: "Production", 4: "Staging", 5: "Development"}
    assert line.current() == {"champion": 3, "challenger": 4} | stages
    assert line.differences() == []


def test_a_waiting_version_is_in_staging_and_a_refused_one_archived(line: MirroredLine):
    line.bless(5)
    line.mirror()
    assert line.current()[5] == "Staging"
    line.promotions.refuse(5, reason="It leaks.", by="ana", at=line.now())
    line.mirror()
    assert line.current()[5] == "Archived"


EDITS: dict[str, tuple[Callable[[MirroredLine], object], str]] = {
    "champion moved": (
        lambda line: line.client.set_registered_model_alias(line.name, "champion", "5"),
        "alias champion is 5; the ledger has 3",
    ),
    "champion deleted": (
        lambda line: line.client.delete_registered_model_alias(line.name, "champion"),
        "alias champion is none; the ledger has 3",
    ),
    "challenger moved": (
        lambda line: line.client.set_registered_model_alias(line.name, "challenger", "5"),
        "alias challenger is 5; the ledger has 4",
    ),
    "stage changed": (
        lambda line: line.client.set_model_version_tag(line.name, "5", STAGE, "Production"),
        "stage of version 5 is Production; the ledger has Development",
    ),
    "stage deleted": (
        lambda line: line.client.delete_model_version_tag(line.name, "3", STAGE),
        "stage of version 3 is none; the ledger has Production",
    ),
}


@pytest.mark.parametrize(("edit", "difference"), EDITS.values(), ids=EDITS)
def test_an_edit_of_other_people_is_found_and_repaired(
    edited: MirroredLine, edit: Callable[[MirroredLine], object], difference: str
):
    right = edited.current()
    edit(edited)
    assert difference in edited.differences()
    edited.mirror()
    assert edited.differences() == [] and edited.current() == right


def test_a_deleted_version_is_reported(line: MirroredLine):
    line.client.delete_model_version(line.name, "4")
    assert line.differences() == ["alias challenger is none; the ledger has 4"]


def test_an_alias_from_before_the_first_promotion_is_found(tmp_path: Path, registry: ModelRegistry):
    line = MirroredLine(tmp_path, registry)
    assert line.differences() == []
    line.train(1)
    assert line.differences() == []
    line.client.set_registered_model_alias(line.name, "champion", "1")
    assert line.differences() == ["alias champion is 1; the ledger has none"]


def test_a_change_of_the_ledger_is_a_difference_until_it_is_mirrored(line: MirroredLine):
    changes: list[Callable[[], object]] = [
        lambda: line.promote(4),
        lambda: line.promotions.roll_back(**line.attribution()),
        lambda: line.bless(5),
        lambda: line.promotions.refuse(5, reason="It leaks.", by="ana", at=line.now()),
    ]
    for change in changes:
        change()
        assert line.differences() != []
        line.mirror()
        assert line.differences() == []


def test_aliases_and_tags_of_other_people_stay(line: MirroredLine):
    line.client.set_registered_model_alias(line.name, "best", "5")
    line.client.set_model_version_tag(line.name, "5", "note", "keep me")
    assert line.differences() == []
    line.promote(4)
    line.mirror()
    assert line.client.get_registered_model(line.name).aliases["best"] == 5
    assert line.registry.versions(line.name)[4].tags["note"] == "keep me"


def test_a_version_trained_since_is_no_difference(line: MirroredLine):
    line.train(6)
    assert line.differences() == []


def test_mirroring_the_same_again_writes_nothing(line: MirroredLine):
    before = line.client.get_registered_model(line.name).last_updated_timestamp
    line.mirror()
    assert line.client.get_registered_model(line.name).last_updated_timestamp == before
