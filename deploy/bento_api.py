"""The API as Bento's clients, schema and documentation describe it, generated from the declaration."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import bentoml
import msgspec
from bentoml.exceptions import BentoMLException
from pydantic import ConfigDict, Field, WithJsonSchema, create_model

from mlops_assets.serving.http.answer import prediction_type
from mlops_assets.serving.http.app import respond
from mlops_assets.serving.http.request import EXPLAIN, INPUTS, MAX_EXPLAINED, ROWS, request_parts
from mlops_assets.serving.http.value_types import value_schema
from mlops_assets.serving.service import Service
from mlops_assets.spec.use_case import UseCase

Schema = dict[str, Any]
Objects = list[dict[str, Any]]

PARTS = {ROWS: "Rows to predict; their features are looked up.", INPUTS: "Features, instead of a lookup; rows may go with them."}
TEXT: Schema = {"type": "string"}
PROBLEM: Schema = {
    "row": {"type": "integer", "nullable": True, "description": "Counted from 0."},
    "field": TEXT | {"nullable": True},
    **dict.fromkeys(("found", "legal", "next"), TEXT),
}
KEYS: Schema = {"bearer": {"type": "http", "scheme": "bearer"}, "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
REFUSALS = {
    "400": "What is wrong with the request, and what is legal.",
    "401": "An API key is missing, unknown or revoked.",
    "403": "The API key is one of other use cases.",
    "409": "Another replica is about to answer this Idempotency-Key; try again after Retry-After seconds.",
    "413": "The body is too large.",
    "415": "The body is compressed or not JSON.",
    "422": "The Idempotency-Key came with another body before.",
    "429": "Too many requests, of this key or at once; try again after Retry-After seconds.",
    "500": "The service could not answer.",
    "503": "No champion serves yet, or features, log or API keys are unavailable; try again after Retry-After seconds.",
    "504": "The answer took too long.",
}


class _Strict(bentoml.IODescriptor):
    """Refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")


def predict_method(use_case: UseCase, service: Callable[[], Service], *, name: str, route: str) -> Any:
    """Bento's API method of that name, which answers by the `service` that runs; the fast path serves the route first."""
    response = output_spec(use_case)

    async def predict(_self: object, ctx: bentoml.Context, **fields: Any) -> Any:
        body = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()

        async def read_body() -> bytes:
            return body

        reply = await respond(service(), ctx.request.headers.raw, read_body)
        if reply.status != HTTPStatus.OK:
            raise BentoMLException(reply.body.decode(), error_code=HTTPStatus(reply.status))
        return response.model_validate_json(reply.body)

    predict.__name__, predict.__doc__ = name, f"{use_case.question} Predictions for rows, or for features."
    return bentoml.api(route=route, input_spec=input_spec(use_case), output_spec=response)(predict)


def input_spec(use_case: UseCase) -> type[bentoml.IODescriptor]:
    """The body of a request. Pydantic checks its outline only: rows and fields are for the parser of the fast path."""
    fields: dict[str, Any] = {}
    for part, columns in request_parts(use_case).items():
        items = _object({column.name: value_schema(column) for column in columns})
        schema = {"type": "array", "nullable": True, "items": items, "minItems": 1, "maxItems": use_case.serving.limits.max_rows}
        fields[part] = (Annotated[Objects | None, WithJsonSchema(schema)], Field(default=None, description=PARTS[part]))
    explain = f"Adds an explanation to each prediction, for at most {MAX_EXPLAINED} rows and some 50 ms a row."
    fields[EXPLAIN] = (bool, Field(default=False, strict=True, description=explain))
    return create_model(f"PredictRequest_{use_case.name}", __base__=_Strict, **fields)


def output_spec(use_case: UseCase) -> type[bentoml.IODescriptor]:
    """The answer: predictions as `prediction_type` declares them."""
    definitions = msgspec.json.schema(prediction_type(use_case))["$defs"]
    schema = {"type": "array", "items": definitions["Prediction"], "description": "One prediction a row, in order."}
    predictions = Annotated[Objects, WithJsonSchema(schema)]
    fields: dict[str, Any] = {"predictions": (predictions, ...), "plan": (int, ...), "latency_ms": (float, ...)}
    return create_model(f"PredictResponse_{use_case.name}", __base__=_Strict, **fields)


def complete_document(spec: Any) -> None:
    """Adds to Bento's OpenAPI document what Bento does not know: the refusals and the API keys."""
    problem = _object(PROBLEM)
    listed = _object({"error": problem, "errors": {"type": "array", "items": problem}, "total_errors": {"type": "integer"}})
    content = {"application/json": {"schema": listed | {"required": ["error"]}}}
    refusals = {status: {"description": description, "content": content} for status, description in REFUSALS.items()}
    for operation in (path.post for route, path in spec.paths.items() if route.endswith("/predict")):
        operation["responses"] = {"200": operation["responses"][200], **refusals}
        operation["requestBody"]["required"] = True
        operation["security"] = [{}, *({name: []} for name in KEYS)]
    spec.components["securitySchemes"] = KEYS


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
