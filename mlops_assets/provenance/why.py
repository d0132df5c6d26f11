"""Everything on record about one prediction: request, features, model, gates, approvals. Personal data stays hidden."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.names import FEATURE_AGE_S
from mlops_assets.promotion.blessing import Blessing
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.provenance.logged import features_of_views, find_hidden_columns, load_blessed_model
from mlops_assets.serving.log.prediction_log import ANSWER, PredictionLog
from mlops_assets.spec.use_case import UseCase


@dataclass(frozen=True)
class ViewValues:
    """The features of one view, and their age at the prediction moment in seconds (None: unknown).

    `view` is None for features that depend on the request alone.
    """

    view: str | None
    age_s: float | None
    values: dict[str, Any]


@dataclass(frozen=True)
class Why:
    """`answer` has the log's columns of the prediction, `request` the request as logged, `hidden` how the log hides a column.

    `blessing` is None, with `objection` as the reason, where the deployed model is not the one that computed it. `records`
    are the ledger's records of the version, oldest first; `plan` is the record of the plan in force. Field names are keys
    of the printed JSON.
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
    loaded = load_blessed_model(use_case, row, deployment=deployment, keys=keys)
    blessing, objection = (None, loaded) if isinstance(loaded, str) else (loaded[1], None)
    records = ledger.records(use_case.name)
    return Why(
        use_case=use_case.name,
        question=use_case.question,
        answer={name: row[name] for name in ANSWER},
        request=_select(row, use_case.features.request),
        hidden=find_hidden_columns(use_case),
        views=_group_features(use_case, row, features_of_views(use_case, tables)),
        blessing=blessing,
        objection=objection,
        records=tuple(record for record in records if _is_about(record, row["model_version"])),
        plan=next((record for record in records if record.number == row["plan"]), None),
    )


def _group_features(use_case: UseCase, row: dict[str, Any], views: dict[str, tuple[str, ...]]) -> tuple[ViewValues, ...]:
    ages: dict[str, float | None] = row.get(FEATURE_AGE_S) or {}
    groups = [ViewValues(view, ages.get(view), _select(row, features)) for view, features in views.items()]
    from_views = {name for features in views.values() for name in features}
    groups.append(ViewValues(None, None, _select(row, (name for name in use_case.features.inputs if name not in from_views))))
    return tuple(group for group in groups if group.values)


def _select(row: dict[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    return {name: row[name] for name in columns if name in row}


def _is_about(record: Record, version: int) -> bool:
    """Whether a record names the version: itself, or in the plan that it set."""
    plan: dict[str, Any] = record.body.get("plan") or {}
    return version in (record.body.get("version"), plan.get("champion"), plan.get("challenger"), plan.get("shadow"))
