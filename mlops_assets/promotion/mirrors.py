"""What MLflow shows people of the ledger: who is champion, and which stage each version is in.

Belongs here: what it should show, how it differs, putting it right, adopting what somebody changed there. Not here: MLflow
itself (ports/model_registry.py). The ledger is the truth; MLflow keeps no history of its aliases (mlflow/mlflow#2169).
"""

from collections.abc import Sequence
from datetime import datetime

from mlops_assets import names
from mlops_assets.ports.deployment import Plan
from mlops_assets.ports.ledger_chain import Record
from mlops_assets.ports.model_registry import ModelRegistry
from mlops_assets.ports.model_stages import Shown, show, shown_of
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.standing import Standing, standing_of


class NothingToAdopt(LookupError):
    """MLflow's champion is the ledger's."""


def expected(standing: Standing, versions: Sequence[int]) -> Shown:
    """Production answers, Staging may or is about to, Archived did or was refused, Development is everything else."""
    plan = standing.plan
    aliases = {names.CHAMPION: plan.champion} if plan else {}
    if plan and standing.trial is not None:
        aliases[names.CHALLENGER] = standing.trial
    return Shown(standing.head, aliases, {version: _stage(standing, version) for version in versions})


def differences(registry: ModelRegistry, use_case: str, records: Sequence[Record]) -> list[str]:
    """Where MLflow shows something else than the ledger held when it was last put right, one sentence each."""
    model = names.registered_model(use_case)
    shown = shown_of(registry, model)
    should = expected(standing_of(use_case, [each for each in records if each.number <= shown.record]), [*shown.stages])
    aliases = sorted({*should.aliases, *shown.aliases})
    said = [
        f"alias {alias!r} names {_version(shown.aliases.get(alias))}; in the ledger it is {_version(should.aliases.get(alias))}"
        for alias in aliases
        if shown.aliases.get(alias) != should.aliases.get(alias)
    ]
    return said + [
        f"version {version} is in stage {shown.stages[version] or 'none'}; in the ledger it is {stage}"
        for version, stage in should.stages.items()
        # A version that was trained since has no stage yet, and could have none but this.
        if shown.stages[version] != stage and (shown.stages[version], stage) != (None, "Development")
    ]


def put_right(registry: ModelRegistry, standing: Standing) -> None:
    """Lets MLflow show what the ledger says; the same again changes nothing."""
    model = names.registered_model(standing.use_case)
    show(registry, model, expected(standing, [each.version for each in registry.versions(model)]))


def adopt(registry: ModelRegistry, promotions: Promotions, *, by: str, at: datetime) -> Plan:
    """Promotes the version that somebody made champion in MLflow, if it may answer at all.

    Raises NothingToAdopt, and as Promotions.promote.
    """
    name, standing = promotions.use_case.name, promotions.standing()
    version = shown_of(registry, names.registered_model(name)).aliases.get(names.CHAMPION)
    if version is None or (standing.plan and version == standing.plan.champion):
        raise NothingToAdopt(f"{name} · MLflow's champion is {_version(version)}, which the ledger knows. Nothing to adopt.")
    reason = f"alias {names.CHAMPION!r} was moved to version {version} in MLflow, and adopted"
    plan = promotions.promote(version, reason=reason, by=by, at=at, kind="adoption")
    put_right(registry, promotions.standing())
    return plan


def _stage(standing: Standing, version: int) -> str:
    if standing.plan and version == standing.plan.champion:
        return "Production"
    if version in (standing.trial, standing.waiting):
        return "Staging"
    if version in standing.refusals or version in standing.failures or version in standing.stood:
        return "Archived"
    return "Development"


def _version(version: int | None) -> str:
    return "nobody" if version is None else f"version {version}"
