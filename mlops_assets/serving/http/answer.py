"""What the service answers. Commands read it too, and load no library of the tasks for it."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mlops_assets.foundation.names import REQUEST
from mlops_assets.spec.use_case import UseCase

# What the API says of the fields.
ARMS = {"enum": ["champion", "challenger"]}
SOURCES = {"enum": ["online", "last_known", "point_in_time", REQUEST]}
SOURCE = (
    "The online store, its last known values while it is down, point-in-time retrieval where that store is ahead of the "
    "prediction moment, or the request itself: its `features`, or its `rows` where no view is declared."
)


class Answer(msgspec.Struct):
    """`predictions` are of the `prediction_type` of the use case."""

    predictions: list[Any]
    plan: int
    latency_ms: float


def prediction_type(use_case: UseCase) -> type[Any]:
    """The answer for one row. The annotations become the schema of the answer; a server does not check values against them."""
    from mlops_assets.tasks import task_of

    task = task_of(use_case.task)
    explanation = f"With explain: what each input adds, in {task.ADDED_IN}, compared with no known input."
    fields: list[Any] = [
        ("prediction_id", Annotated[str, Meta(description="Finds features, model, data and gates of this prediction later.")]),
        *task.ANSWER.items(),
        ("model_version", int),
        ("arm", Annotated[str, Meta(description="Which side of a rollout served it.", extra_json_schema=ARMS)]),
        ("features_from", Annotated[str, Meta(description=SOURCE, extra_json_schema=SOURCES)]),
        ("warnings", list[str]),
        ("explanation", Annotated[dict[str, Any], Meta(description=explanation)] | UnsetType, UNSET),
    ]
    return msgspec.defstruct("Prediction", fields)
