"""MLflow as a mirror of the ledger, on a real MLflow: every edit behind our back is found, and none is where nobody edited."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.ports.model_registry import ModelRegistry
from mlops_assets.ports.model_stages import RECORD, STAGE, shown_of
from mlops_assets.promotion import mirrors
from mlops_assets.promotion.mirrors import NothingToAdopt
from mlops_assets.promotion.promotions import NotApproved, NotBlessed
from mlops_assets.stages.bless import UnblessedModel
from tests.promotion.mirrored_line import MirroredLine


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    return ModelRegistry(tmp_path_factory.mktemp("mlflow"))


def line_below(root: Path, registry: ModelRegistry) -> MirroredLine:
    """Versions 1 to 5: champion before, taken back, champion, on trial, nothing yet."""
    line = MirroredLine(root, registry)
    for version in (1, 2, 3, 4, 5):
        line.train(version)
    line.bless(1, 2, 3, 4)
    line.promote(1, 2)
    line.promotions.roll_back(**line.said())
    line.promote(3)
    line.promotions.try_out(challenger=4, share=0.1, **line.said())
    line.put_right()
    return line


@pytest.fixture
def line(tmp_path: Path, registry: ModelRegistry) -> MirroredLine:
    return line_below(tmp_path, registry)


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory, registry: ModelRegistry) -> MirroredLine:
    """For edits that are put right again."""
    return line_below(tmp_path_factory.mktemp("edited"), registry)


def test_people_see_who_answers_who_is_tried_and_who_was(line: MirroredLine):
    shown = shown_of(line.registry, line.name)
    assert shown.aliases == {"champion": 3, "challenger": 4}
    assert shown.stages == {1: "Archived", 2: "Archived", 3: "Production", 4: "Staging", 5: "Development"}
    assert shown.record == line.standing().head and line.differences() == []


def test_what_waits_is_in_staging_and_what_was_refused_is_archived(line: MirroredLine):
    line.bless(5)
    line.put_right()
    assert shown_of(line.registry, line.name).stages[5] == "Staging"
    line.promotions.refuse(5, reason="It leaks.", by="ana", at=line.now())
    line.put_right()
    assert shown_of(line.registry, line.name).stages[5] == "Archived"


EDITS: dict[str, tuple[Callable[[MirroredLine], object], str]] = {
    "champion moved": (
        lambda line: line.client.set_registered_model_alias(line.name, "champion", "5"),
        "alias 'champion' names version 5; in the ledger it is version 3",
    ),
    "champion deleted": (
        lambda line: line.client.delete_registered_model_alias(line.name, "champion"),
        "alias 'champion' names nobody; in the ledger it is version 3",
    ),
    "challenger moved": (
        lambda line: line.client.set_registered_model_alias(line.name, "challenger", "5"),
        "alias 'challenger' names version 5; in the ledger it is version 4",
    ),
    "another alias": (
        lambda line: line.client.set_registered_model_alias(line.name, "best", "5"),
        "alias 'best' names version 5; in the ledger it is nobody",
    ),
    "stage changed": (
        lambda line: line.client.set_model_version_tag(line.name, "5", STAGE, "Production"),
        "version 5 is in stage Production; in the ledger it is Development",
    ),
    "stage deleted": (
        lambda line: line.client.delete_model_version_tag(line.name, "3", STAGE),
        "version 3 is in stage none; in the ledger it is Production",
    ),
    "record deleted": (
        lambda line: line.client.delete_registered_model_tag(line.name, RECORD),
        "alias 'champion' names version 3; in the ledger it is nobody",
    ),
    "record set back": (
        lambda line: line.client.set_registered_model_tag(line.name, RECORD, "6"),
        "alias 'champion' names version 3; in the ledger it is version 2",
    ),
}


@pytest.mark.parametrize(("edit", "told"), EDITS.values(), ids=EDITS)
def test_an_edit_behind_our_back_is_found_and_put_right(edited: MirroredLine, edit: Callable[[MirroredLine], object], told: str):
    right = shown_of(edited.registry, edited.name)
    edit(edited)
    assert told in edited.differences()
    edited.put_right()
    assert edited.differences() == [] and shown_of(edited.registry, edited.name) == right


def test_a_version_that_somebody_deleted_is_missed(line: MirroredLine):
    line.client.delete_model_version(line.name, "4")
    assert line.differences() == ["alias 'challenger' names nobody; in the ledger it is version 4"]


def test_an_alias_from_before_the_first_promotion_is_found(tmp_path: Path, registry: ModelRegistry):
    line = MirroredLine(tmp_path, registry)
    assert line.differences() == []
    line.train(1)
    assert line.differences() == []
    line.client.set_registered_model_alias(line.name, "champion", "1")
    assert line.differences() == ["alias 'champion' names version 1; in the ledger it is nobody"]


def test_our_own_changes_are_no_differences_before_and_after_they_are_mirrored(line: MirroredLine):
    changes: list[Callable[[], object]] = [
        lambda: line.promotions.try_out(challenger=4, share=0.5, **line.said()),
        lambda: line.promote(4),
        lambda: line.promotions.roll_back(**line.said()),
        lambda: line.bless(5),
        lambda: line.promotions.refuse(5, reason="It leaks.", by="ana", at=line.now()),
    ]
    for change in changes:
        change()
        assert line.differences() == []
        line.put_right()
        assert line.differences() == []


def test_a_version_trained_since_is_no_difference(line: MirroredLine):
    line.train(6)
    assert line.differences() == []
    line.bless(6)
    assert line.differences() == []


def test_putting_right_what_is_right_writes_nothing(line: MirroredLine):
    before = line.client.get_registered_model(line.name).last_updated_timestamp
    line.put_right()
    assert line.client.get_registered_model(line.name).last_updated_timestamp == before


def test_a_blessed_version_that_somebody_made_champion_is_adopted(line: MirroredLine):
    line.bless(5)
    line.client.set_registered_model_alias(line.name, "champion", "5")
    plan = mirrors.adopt(line.registry, line.promotions, by="bob", at=line.now())
    assert (plan.champion, plan.previous, plan.rollout) == (5, 3, "")
    record = line.ledger.records(line.name)[-1]
    assert (record.kind, record.by, record.body["version"]) == ("adoption", "bob", 5)
    assert "was moved to version 5 in MLflow" in record.body["reason"]
    assert line.differences() == [] and line.deployment.plan() == plan
    assert shown_of(line.registry, line.name).stages[3] == "Archived"
    assert line.promotions.roll_back(**line.said()).champion == 3


def test_an_unblessed_version_is_not_adopted(line: MirroredLine):
    line.client.set_registered_model_alias(line.name, "champion", "5")
    with line.unchanged(), pytest.raises(NotBlessed, match="version 5 has no blessing in the ledger"):
        mirrors.adopt(line.registry, line.promotions, by="bob", at=line.now())
    assert shown_of(line.registry, line.name).aliases["champion"] == 5  # left as found, and told
    assert line.differences()


def test_a_refused_version_is_not_adopted(line: MirroredLine):
    line.bless(5)
    line.promotions.refuse(5, reason="It leaks.", by="ana", at=line.now())
    line.client.set_registered_model_alias(line.name, "champion", "5")
    with line.unchanged(), pytest.raises(UnblessedModel, match="It leaks"):
        mirrors.adopt(line.registry, line.promotions, by="bob", at=line.now())


def test_a_version_of_high_risk_is_not_adopted_without_its_approval(tmp_path: Path, registry: ModelRegistry):
    line = MirroredLine(tmp_path, registry, risk="high")
    line.train(1)
    line.bless(1)
    line.client.set_registered_model_alias(line.name, "champion", "1")
    with line.unchanged(), pytest.raises(NotApproved):
        mirrors.adopt(line.registry, line.promotions, by="bob", at=line.now())
    line.approve(1)
    assert mirrors.adopt(line.registry, line.promotions, by="bob", at=line.now()).champion == 1


def test_where_nothing_was_moved_there_is_nothing_to_adopt(line: MirroredLine):
    with line.unchanged(), pytest.raises(NothingToAdopt, match="champion is version 3, which the ledger knows"):
        mirrors.adopt(line.registry, line.promotions, by="bob", at=line.now())
    line.client.delete_registered_model_alias(line.name, "champion")
    with line.unchanged(), pytest.raises(NothingToAdopt, match="champion is nobody"):
        mirrors.adopt(line.registry, line.promotions, by="bob", at=line.now())
