"""Everything on record about one answer: request, feature values, model, gates, approvals. Personal data stays hidden."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.names import FEATURE_AGE_S
from mlops_assets.promotion.blessing import Blessing, UnblessedModel
from mlops_assets.promotion.deployment import Deployment, UnknownVersion
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.provenance.logged import blessed_model, features_of_views, hidden
from mlops_assets.serving.log.prediction_log import ANSWER, PredictionLog
from mlops_assets.spec.use_case import UseCase


@dataclass(frozen=True)
class ViewValues:
    """The features of one view, and their age at the prediction moment in seconds (None: unknown).

    `view` is None for features that follow from the request alone.
    """

    view: str | None
    age_s: float | None
    values: dict[str, Any]


@dataclass(frozen=True)
class Why:
    """`answer` has the answer's columns of the log, `request` the request as logged, `hidden` how the log hides personal data.

    `blessing` is None, and `objection` the reason, where the stored model is not the one that answered. `records` are the
    ledger's records of the version, oldest first; `plan` is the record of the plan in force.
    """

    use_case: str
    question: str
    answer: dict[str, Any]
    request: dict[str, Any]
    hidden: dict[str, str]
    views: tuple[ViewValues, ...]
    blessing: Blessing | None
    objection: str | None
    records: tuple[Record, ...]
    plan: Record | None


def why(
    use_case: UseCase,
    prediction_id: str,
    *,
    log: PredictionLog,
    deployment: Deployment,
    keys: SigningKeys,
    ledger: Ledger,
    tables: DeltaTables,
) -> Why:
    """Raises UnknownPrediction and AlteredLine as PredictionLog.find."""
    row = log.find(prediction_id).row(0, named=True)
    blessing, objection = _blessing(use_case, row, deployment, keys)
    records = ledger.records(use_case.name)
    return Why(
        use_case=use_case.name,
        question=use_case.question,
        answer={name: row[name] for name in ANSWER},
        request={name: row[name] for name in use_case.features.request if name in row},
        hidden=hidden(use_case),
        views=_views(use_case, row, features_of_views(use_case, tables)),
        blessing=blessing,
        objection=objection,
        records=tuple(each for each in records if _is_about(each, row["model_version"])),
        plan=next((each for each in records if each.number == row["plan"]), None),
    )


def _blessing(
    use_case: UseCase, row: dict[str, Any], deployment: Deployment, keys: SigningKeys
) -> tuple[Blessing | None, str | None]:
    try:
        return blessed_model(use_case, row, deployment=deployment, keys=keys)[1], None
    except (UnknownVersion, UnblessedModel) as error:
        return None, str(error)


def _views(use_case: UseCase, row: dict[str, Any], views: dict[str, tuple[str, ...]]) -> tuple[ViewValues, ...]:
    ages: dict[str, float | None] = row.get(FEATURE_AGE_S) or {}
    found = [ViewValues(view, ages.get(view), _values(row, features)) for view, features in views.items()]
    brought = {name for features in views.values() for name in features}
    own = ViewValues(None, None, _values(row, [name for name in use_case.features.inputs if name not in brought]))
    return tuple(each for each in (*found, own) if each.values)


def _values(row: dict[str, Any], features: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in features if name in row}


def _is_about(record: Record, version: int) -> bool:
    """Whether a record names the version: itself, or in the plan that it set."""
    plan: dict[str, Any] = record.body.get("plan") or {}
    return version in (record.body.get("version"), plan.get("champion"), plan.get("challenger"), plan.get("shadow"))
