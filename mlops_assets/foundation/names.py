"""Every outside name, made from a use case's name: asset keys, groups, tables, registered models, jobs. Paths: home.py."""

from collections.abc import Callable
from pathlib import PurePosixPath

AssetPath = list[str]

# Tables keep the folder that they had before asset keys named their stage: raw_orders is stored in raw/orders.delta.
FOLDERS = {"raw": "raw", "validated": "validated", "quarantined": "quarantine", "features": "feature"}
# The lineage folds by group: one per use case and stage of the model line.
GROUPS = {
    "raw": ("pulled", "landing", "raw"),
    "validated": ("validated",),
    "features": ("feature", "online"),
    "training": ("training_set", "candidate", "evaluation", "blessing"),
    "serving": ("rollout", "service", "prediction_log", "predictions"),
    # The catalogue names the champion that reads a feature: in "features" it would make the folded graph a cycle.
    "monitoring": (
        "outcomes", "drift", "performance", "estimation", "skew", "operations", "monitor", "investigation", "feature_catalog",
    ),
}  # fmt: skip


def _build_layer(prefix: str) -> Callable[[str, str], AssetPath]:
    """The assets of one layer, by use case and table or view."""
    return lambda use_case, name: [use_case, f"{prefix}_{name}"]


pulled, landing, raw, validated, quarantine = map(_build_layer, ("pulled", "landed", "raw", "validated", "quarantined"))
feature, online = map(_build_layer, ("features", "online"))


# The processes that a platform starts, and their descendants, inherit this variable: it identifies one whose parent died first,
# also in a session of its own.
PROCESS_GROUP = "MLOPS_PROCESS_GROUP"
LANDING = "landing"  # the stage of landed files


def stage(use_case: str, name: str) -> AssetPath:
    """Such as training_set, candidate, evaluation, blessing, rollout, prediction_log, predictions or drift."""
    return [use_case, name]


def part(stage: str) -> str:
    """The part of the model line that a stage belongs to, for example training of "candidate"."""
    return next(name for name, stages in GROUPS.items() if stage in stages)


def group(use_case: str, stage: str) -> str:
    """The group of an asset by its stage, for example loans_training of "candidate"."""
    return f"{use_case}_{part(stage)}"


def table_path(asset: AssetPath) -> PurePosixPath:
    """The path of an asset's Delta table under the tables' root. Also takes the table's folders and name themselves."""
    *folders, name = asset
    prefix, _, table = name.partition("_")
    if len(asset) == 2 and prefix in FOLDERS:
        folders, name = [*folders, FOLDERS[prefix]], table
    return PurePosixPath(*folders, f"{name}.delta")


def table_tag(asset: AssetPath) -> str:
    """The MLflow tag that holds the version of a table, for example table.validated.orders."""
    return ".".join(["table", *table_path(asset).with_suffix("").parts[1:]])


def feature_source(use_case: str, view: str) -> str:
    """A Feast source, relative to the offline store's root."""
    return str(table_path(feature(use_case, view)))


def in_feast(use_case: str, name: str) -> str:
    """A view or an entity in Feast's registry, which all use cases share."""
    return f"{use_case}__{name}"


def registered_model(use_case: str) -> str:
    return use_case


def experiment(use_case: str) -> str:
    return use_case


def job(use_case: str, purpose: str) -> str:
    """A job, schedule or sensor: loans_training, loans_on_drift."""
    return f"{use_case}_{purpose}"


# Columns that the platform reads or writes.
EVENT_TIMESTAMP = "event_timestamp"  # the prediction moment of a row; of a feature, when its values became known
KNOWN_AT = "known_at"  # when the label became known
PREDICTION_ID = "prediction_id"
FEAST_PROJECT = "mlops_assets"
CHAMPION, CHALLENGER = "champion", "challenger"
REQUEST = "request"  # of a row's features: they came with the request, and from no store
# Checks of landed partitions.
BAD_SHARE, EXPECTATIONS = "bad_rows_within_bound", "rows_as_expected"
# A column of lookups and of the prediction log: seconds from each view's event time to the prediction moment.
EVIDENTLY = "evidently"  # a folder of the reports: its workspace
FEATURE_AGE_S = "feature_age_s"
SEED = 0  # of every sample, resample and shuffle, so that the same rows give the same evidence
