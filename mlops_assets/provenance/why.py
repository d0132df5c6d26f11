"""Everything on record about one prediction: request, features, model, gates, approvals. Personal data stays hidden."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.promotion.blessing import Blessing, UnblessedModel
from mlops_assets.promotion.deployment import Deployment, UnknownVersion
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.log.prediction_log import PredictionLog, answer_columns
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore


class Stores(NamedTuple):
    """What traces the predictions of one use case. `open_features` opens Feast, with the name of a feature service."""

    log: PredictionLog
    deployment: Deployment
    keys: SigningKeys
    ledger: Ledger
    tables: DeltaTables
    open_features: Callable[[str], "FeatureStore"]


@dataclass(frozen=True)
class Why:
    """`answer` has the log's columns of the prediction, `prediction` the same in words, `request` the request as logged,
    `hidden` how the log hides a column.

    `blessing` is None, with `objection` as the reason, where the deployed model is not the one that computed it. `records`
    are the ledger's records of the version, oldest first; `plan` is the record of the plan in force. `views` have the
    features as `values`, the `view` (None: they depend on the request alone) and its `age_s` at the prediction moment in
    seconds (None: unknown). Field names are keys of the printed JSON.
    """

    use_case: str
    question: str
    answer: dict[str, Any]
    prediction: str
    request: dict[str, Any]
    hidden: dict[str, str]
    views: tuple[dict[str, Any], ...]
    blessing: Blessing | None
    objection: str | None
    records: tuple[Record, ...]
    plan: Record | None


def why(use_case: UseCase, prediction_id: str, stores: Stores) -> Why:
    """Raises UnknownPrediction and AlteredLine as PredictionLog.find."""
    row = stores.log.find(prediction_id).row(0, named=True)
    loaded = load_blessed_model(use_case, row, stores)
    blessing, objection = (None, loaded) if isinstance(loaded, str) else (loaded[1], None)
    records = stores.ledger.records(use_case.name)
    return Why(
        use_case=use_case.name,
        question=use_case.question,
        answer={name: row[name] for name in answer_columns(use_case)},
        prediction=task_of(use_case.task).describe(row),
        request=_select(row, use_case.features.request),
        hidden=find_hidden_columns(use_case),
        views=tuple(_group_features(use_case, row, features_of_views(use_case, stores.tables))),
        blessing=blessing,
        objection=objection,
        records=tuple(record for record in records if _is_about(record, row["model_version"])),
        plan=next((record for record in records if record.number == row["plan"]), None),
    )


def _group_features(use_case: UseCase, row: dict[str, Any], views: dict[str, tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    ages: dict[str, float | None] = row.get(names.FEATURE_AGE_S) or {}
    from_views = {name for features in views.values() for name in features}
    of_request = tuple(name for name in use_case.features.inputs if name not in from_views)
    for view, features in {**views, None: of_request}.items():
        if values := _select(row, features):
            yield {"view": view, "age_s": ages.get(view) if view else None, "values": values}


def _select(row: dict[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    return {name: row[name] for name in columns if name in row}


def _is_about(record: Record, version: int) -> bool:
    """Whether a record names the version: itself, or in the plan that it set."""
    plan: dict[str, Any] = record.body.get("plan") or {}
    return version in (record.body.get("version"), plan.get("champion"), plan.get("challenger"), plan.get("shadow"))


def find_hidden_columns(use_case: UseCase) -> dict[str, str]:
    """The request's columns that the log hides, by name: hashed or left_out."""
    contract = use_case.contract(use_case.features.request_table)
    columns = [contract.column(name) for name in use_case.features.request]
    return {column.name: column.pii for column in columns if column.pii}


def features_of_views(use_case: UseCase, tables: DeltaTables) -> dict[str, tuple[str, ...]]:
    """The model's inputs from each view, by the columns of its table; none for a view without a table."""
    schemas = {view: tables.scan(names.feature(use_case.name, view.name)).collect_schema() for view in use_case.features.views}
    return {
        view.name: tuple(name for name in use_case.features.inputs if name in schema and name not in view.entity)
        for view, schema in schemas.items()
    }


def load_blessed_model(use_case: UseCase, row: dict[str, Any], stores: Stores) -> tuple[bytes, Blessing] | str:
    """The model that computed a logged prediction, or why the deployed one is not that model."""
    version = row["model_version"]
    recorded = stores.ledger.state(use_case.name).digest_of(version)
    try:
        onnx, blessing = stores.deployment.load_blessed(version, stores.keys, recorded=recorded)
    except (UnknownVersion, UnblessedModel) as error:
        return str(error)
    if blessing.model_digest == row["model_digest"]:
        return onnx, blessing
    return (
        f"{use_case.name} · version {version} has the digest {blessing.model_digest[:12]}…; the prediction was "
        f"logged with {row['model_digest'][:12]}…: the log or the model was altered."
    )
