"""Every outside name, made from a use case's name: asset keys, tables, registered models, jobs. Paths are in home.py."""

from pathlib import PurePosixPath

AssetPath = list[str]


def landing(use_case: str, table: str) -> AssetPath:
    return [use_case, "landing", table]


def raw(use_case: str, table: str) -> AssetPath:
    return [use_case, "raw", table]


def validated(use_case: str, table: str) -> AssetPath:
    return [use_case, "validated", table]


def quarantine(use_case: str, table: str) -> AssetPath:
    return [use_case, "quarantine", table]


def feature(use_case: str, view: str) -> AssetPath:
    return [use_case, "feature", view]


def online(use_case: str, view: str) -> AssetPath:
    return [use_case, "online", view]


def stage(use_case: str, name: str) -> AssetPath:
    """training_set, candidate, evaluation, blessing, rollout, service, predictions, outcomes, drift, performance, skew,
    feature_catalog.
    """
    return [use_case, name]


def prediction_log(use_case: str) -> AssetPath:
    return [use_case, "prediction_log"]


def table_path(asset: AssetPath) -> PurePosixPath:
    """The path of an asset's Delta table under the tables' root, as dagster-polars writes it."""
    return PurePosixPath(*asset[:-1], f"{asset[-1]}.delta")


def feature_source(use_case: str, view: str) -> str:
    """The path of a Feast source, relative to the offline store's root."""
    return str(table_path(feature(use_case, view)))


def registered_model(use_case: str) -> str:
    return use_case


def experiment(use_case: str) -> str:
    return use_case


def job(use_case: str, purpose: str) -> str:
    """A job, schedule or sensor: flight_delay_training, flight_delay_on_drift."""
    return f"{use_case}_{purpose}"


# Columns that the platform reads or writes.
EVENT_TIMESTAMP = "event_timestamp"  # the prediction moment of a row; of a feature, when its values became known
KNOWN_AT = "known_at"  # when the label became known
PREDICTION_ID = "prediction_id"
FEAST_PROJECT = "mlops_assets"
CHAMPION, CHALLENGER = "champion", "challenger"
# Checks that a sensor acts on.
NO_DRIFT, GOOD_ENOUGH = "inputs_like_training", "realised_metric_within_bound"
SAME_FEATURES = "features_like_recomputed"
# A column of lookups and of the prediction log: seconds from each view's event time to the prediction moment.
FEATURE_AGE_S = "feature_age_s"
