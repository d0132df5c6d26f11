"""MLflow as a mirror of the ledger: the aliases `champion` and `challenger`, and the tag `stage` of every version."""

from collections.abc import Mapping
from typing import Any, cast

from mlops_assets.foundation import names
from mlops_assets.promotion.promotion_state import PromotionState
from mlops_assets.training.model_registry import ModelRegistry

# The ledger decides: MLflow keeps no history of its aliases (https://github.com/mlflow/mlflow/issues/2169).
STAGE = "stage"
Mirror = Mapping[str | int, Any]  # the version of each alias, None without one; the stage of each version, None where it has none


def current(registry: ModelRegistry, use_case: str) -> Mirror:
    """What MLflow holds now; no version for a model without versions."""
    name = names.registered_model(use_case)
    models = registry.client.search_registered_models(f"name='{name}'")
    aliases = {alias: int(version) for model in models for alias, version in cast("dict[str, Any]", model.aliases).items()}
    ours = {alias: aliases.get(alias) for alias in (names.CHALLENGER, names.CHAMPION)}  # people may set others, which stay
    return ours | {version.version: version.tags.get(STAGE) for version in registry.versions(name)}


def differences(registry: ModelRegistry, state: PromotionState) -> list[str]:
    """Where MLflow differs from the ledger, one sentence each. A version without a stage counts as Development."""
    return [
        f"{'stage of version' if isinstance(key, int) else 'alias'} {key} is {now or 'none'}; the ledger has {ledger or 'none'}"
        for key, now, ledger in _differences(registry, state)
        if (now or "Development") != ledger
    ]


def mirror(registry: ModelRegistry, state: PromotionState) -> None:
    """Writes the ledger's aliases and stages to MLflow where they differ."""
    client, name = registry.client, names.registered_model(state.use_case)
    for key, _, ledger in _differences(registry, state):
        if isinstance(key, int):
            client.set_model_version_tag(name, str(key), STAGE, ledger)
        elif ledger is None:
            client.delete_registered_model_alias(name, key)
        else:
            client.set_registered_model_alias(name, key, str(ledger))


def _differences(registry: ModelRegistry, state: PromotionState) -> list[tuple[str | int, Any, Any]]:
    """Alias or version, what MLflow has for it, and what the ledger has instead."""
    mlflow = current(registry, state.use_case)
    ledger = {names.CHALLENGER: state.challenger_version, names.CHAMPION: state.plan.champion if state.plan else None}
    ledger |= {version: _stage(state, version) for version in mlflow if isinstance(version, int)}
    return [(key, now, ledger[key]) for key, now in mlflow.items() if now != ledger[key]]


def _stage(state: PromotionState, version: int) -> str:
    if state.plan and version == state.plan.champion:
        return "Production"
    if version in (state.challenger_version, state.waiting):
        return "Staging"
    return "Archived" if version in {*state.refusals, *state.rollbacks, *state.champions} else "Development"
