"""MLflow as a mirror of the ledger: the aliases `champion` and `challenger`, and the tag `stage` of every version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mlops_assets.foundation import names
from mlops_assets.promotion.promotion_state import PromotionState
from mlops_assets.training.model_registry import ModelRegistry

# The ledger decides: MLflow keeps no history of its aliases (https://github.com/mlflow/mlflow/issues/2169).
STAGE = "stage"
OURS = (names.CHALLENGER, names.CHAMPION)  # people may set other aliases, which stay as they are


@dataclass(frozen=True)
class Mirror:
    """The version of each alias and the stage of each version; None where a version has no stage."""

    aliases: Mapping[str, int]
    stages: Mapping[int, str | None]


def expected(state: PromotionState, versions: Sequence[int]) -> Mirror:
    """What MLflow should hold for the registered `versions`."""
    named = {names.CHAMPION: state.plan.champion if state.plan else None, names.CHALLENGER: state.challenger_version}
    aliases = {alias: version for alias, version in named.items() if version is not None}
    return Mirror(aliases, {version: _stage(state, version) for version in versions})


def current(registry: ModelRegistry, use_case: str) -> Mirror:
    """What MLflow holds now; nothing for a model without versions."""
    name = names.registered_model(use_case)
    models = registry.client.search_registered_models(f"name='{name}'")
    aliases = {alias: int(version) for model in models for alias, version in cast("dict[str, Any]", model.aliases).items()}
    stages = {version.version: version.tags.get(STAGE) for version in registry.versions(name)}
    return Mirror({alias: version for alias, version in aliases.items() if alias in OURS}, stages)


def differences(registry: ModelRegistry, state: PromotionState) -> list[str]:
    """Where MLflow differs from the ledger, one sentence each. A version without a stage counts as Development."""
    now = current(registry, state.use_case)
    ledger = expected(state, [*now.stages])
    return [
        f"alias {alias!r} names {_version(now.aliases.get(alias))}; in the ledger it is {_version(ledger.aliases.get(alias))}"
        for alias in OURS
        if now.aliases.get(alias) != ledger.aliases.get(alias)
    ] + [
        f"version {version} is in stage {now.stages[version] or 'none'}; in the ledger it is {stage}"
        for version, stage in ledger.stages.items()
        if (now.stages[version] or "Development") != stage
    ]


def mirror(registry: ModelRegistry, state: PromotionState) -> None:
    """Writes the ledger's aliases and stages to MLflow where they differ."""
    client, name, now = registry.client, names.registered_model(state.use_case), current(registry, state.use_case)
    ledger = expected(state, [*now.stages])
    for alias in now.aliases.keys() - ledger.aliases.keys():
        client.delete_registered_model_alias(name, alias)
    for alias, version in sorted(ledger.aliases.items() - now.aliases.items()):
        client.set_registered_model_alias(name, alias, str(version))
    for version, stage in sorted(ledger.stages.items() - now.stages.items()):
        client.set_model_version_tag(name, str(version), STAGE, stage)


def _stage(state: PromotionState, version: int) -> str:
    if state.plan and version == state.plan.champion:
        return "Production"
    if version in (state.challenger_version, state.waiting):
        return "Staging"
    return "Archived" if version in {*state.refusals, *state.rollbacks, *state.champions} else "Development"


def _version(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"
