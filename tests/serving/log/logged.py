"""Answers of the loans as the service logs them; it imports little, as processes that are killed at once import it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from mlops_assets.serving.log.prediction_log import PredictionLog

MOMENT = datetime(2024, 3, 1, 10, tzinfo=UTC)


def row(log: PredictionLog, prediction_id: str, **values: Any) -> dict[str, Any]:
    """The answer of a number, at that second."""
    answered_at = MOMENT + timedelta(seconds=int(prediction_id.rpartition("-")[2]))
    answer = {"prediction_id": prediction_id, "answered_at": answered_at, "customer": "c1", "amount": 1.5}
    return dict.fromkeys(log.schema) | answer | values
