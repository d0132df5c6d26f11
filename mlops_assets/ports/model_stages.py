"""What MLflow shows people of a model: its aliases, the stage of each version, and the ledger's record that says so.

Belongs here: reading and setting them. Not here: what they should be (promotion/mirrors.py), versions (model_registry.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from mlflow import MlflowException

from mlops_assets.ports.model_registry import ABSENT, ModelRegistry

STAGE, RECORD = "stage", "ledger_record"


@dataclass(frozen=True)
class Shown:
    """What people see of a model: which version each alias names and the stage of each version (None: none), as of the
    ledger's `record` (0: never said).
    """

    record: int
    aliases: dict[str, int]
    stages: Mapping[int, str | None]


def show(registry: ModelRegistry, model_name: str, shown: Shown) -> None:
    """Sets exactly these aliases, the stages as tags, and the record that says so; last, for it vouches for the others."""
    found, client = shown_of(registry, model_name), registry.client
    for alias in found.aliases.keys() - shown.aliases.keys():
        client.delete_registered_model_alias(model_name, alias)
    for alias, version in shown.aliases.items():
        if found.aliases.get(alias) != version:
            client.set_registered_model_alias(model_name, alias, str(version))
    for version, stage in shown.stages.items():
        if found.stages.get(version) != stage:
            client.set_model_version_tag(model_name, str(version), STAGE, stage)
    if found.record != shown.record:
        client.set_registered_model_tag(model_name, RECORD, str(shown.record))


def shown_of(registry: ModelRegistry, model_name: str) -> Shown:
    """What it shows now; nothing of a model that nobody registered."""
    try:
        model = registry.client.get_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != ABSENT:
            raise
        return Shown(0, {}, {})
    aliases = {alias: int(version) for alias, version in cast("dict[str, Any]", model.aliases).items()}
    stages = {each.version: each.tags.get(STAGE) for each in registry.versions(model_name)}
    record = cast("dict[str, str]", model.tags).get(RECORD, "")
    return Shown(int(record) if record.isdecimal() else 0, aliases, stages)  # anybody may have written there
