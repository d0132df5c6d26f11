"""MLflow as a mirror of the ledger: the aliases `champion` and `challenger`, and the tag `stage` of every version.

The ledger is the truth; MLflow keeps no history of its aliases (mlflow/mlflow#2169).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mlops_assets.foundation import names
from mlops_assets.promotion.promotion_state import PromotionState
from mlops_assets.training.model_registry import ModelRegistry

STAGE = "stage"
OURS = (names.CHALLENGER, names.CHAMPION)  # people may set other aliases, which stay as they are


@dataclass(frozen=True)
class Mirror:
    """The version of each alias and the stage of each version; None where a version has no stage."""

    aliases: Mapping[str, int]
    stages: Mapping[int, str | None]


def expected(standing: PromotionState, versions: Sequence[int]) -> Mirror:
    """What MLflow should hold for the registered `versions`."""
    named = {names.CHAMPION: standing.plan.champion if standing.plan else None, names.CHALLENGER: standing.trial}
    aliases = {alias: version for alias, version in named.items() if version is not None}
    return Mirror(aliases, {version: _stage(standing, version) for version in versions})


def current(registry: ModelRegistry, use_case: str) -> Mirror:
    """What MLflow holds now; nothing for a model without versions."""
    name = names.registered_model(use_case)
    models = registry.client.search_registered_models(f"name='{name}'")
    aliases = {alias: int(version) for model in models for alias, version in cast("dict[str, Any]", model.aliases).items()}
    stages = {version.version: version.tags.get(STAGE) for version in registry.versions(name)}
    return Mirror({alias: version for alias, version in aliases.items() if alias in OURS}, stages)


def differences(registry: ModelRegistry, standing: PromotionState) -> list[str]:
    """Where MLflow differs from the ledger, one sentence each. A version without a stage is in Development."""
    now = current(registry, standing.use_case)
    ledger = expected(standing, [*now.stages])
    return [
        f"alias {alias!r} names {_version(now.aliases.get(alias))}; in the ledger it is {_version(ledger.aliases.get(alias))}"
        for alias in OURS
        if now.aliases.get(alias) != ledger.aliases.get(alias)
    ] + [
        f"version {version} is in stage {now.stages[version] or 'none'}; in the ledger it is {stage}"
        for version, stage in ledger.stages.items()
        if (now.stages[version] or "Development") != stage
    ]


def mirror(registry: ModelRegistry, standing: PromotionState) -> None:
    """Writes aliases and stages as the ledger has them; writes nothing where they are the same."""
    client, name, now = registry.client, names.registered_model(standing.use_case), current(registry, standing.use_case)
    ledger = expected(standing, [*now.stages])
    for alias in now.aliases.keys() - ledger.aliases.keys():
        client.delete_registered_model_alias(name, alias)
    for alias, version in ledger.aliases.items():
        if now.aliases.get(alias) != version:
            client.set_registered_model_alias(name, alias, str(version))
    for version, stage in ledger.stages.items():
        if now.stages[version] != stage:
            client.set_model_version_tag(name, str(version), STAGE, stage)


def _stage(standing: PromotionState, version: int) -> str:
    """Production serves, Staging is the challenger or waits, Archived was champion or was rejected."""
    if standing.plan and version == standing.plan.champion:
        return "Production"
    if version in (standing.trial, standing.waiting):
        return "Staging"
    if version in standing.refusals or version in standing.failures or version in standing.stood:
        return "Archived"
    return "Development"


def _version(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"
