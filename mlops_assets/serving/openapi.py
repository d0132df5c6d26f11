"""The OpenAPI document of a prediction service, made from its declaration.

Belongs here: the document. Not here: the checks that it describes (request.py) and the routes (web.py).
"""

from typing import Any

from mlops_assets.serving.request import MAX_ROWS, legal_values, request_columns
from mlops_assets.spec.contract import Column, DType
from mlops_assets.spec.use_case import UseCase

Schema = dict[str, Any]

TYPES: dict[DType, Schema] = {
    "string": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "datetime": {"type": "string", "format": "date-time"},
    "bool": {"type": "boolean"},
}
PREDICTION: Schema = {
    "prediction_id": {"type": "string", "description": "Explains this answer later: features, model, data, gates."},
    "probability": {"type": "number", "minimum": 0, "maximum": 1},
    "decision": {"type": "boolean", "description": "The probability reaches the declared threshold."},
    "model_version": {"type": "integer"},
    "features_from": {
        "type": "string",
        "enum": ["online", "point_in_time"],
        "description": "The online store, or point-in-time retrieval where that store knows more than the prediction moment.",
    },
    "warnings": {"type": "array", "items": {"type": "string"}},
}
PROBLEM: Schema = {
    "row": {"type": "integer", "nullable": True, "description": "Counted from 0."},
    "field": {"type": "string", "nullable": True},
    "found": {"type": "string"},
    "legal": {"type": "string"},
    "next": {"type": "string"},
}


def openapi(use_case: UseCase) -> Schema:
    """OpenAPI 3.0.3, as plain JSON-able values."""
    return {
        "openapi": "3.0.3",
        "info": {"title": use_case.name, "description": use_case.question, "version": use_case.features.service},
        "paths": {
            "/predict": {"post": _predict(use_case)},
            "/plan": {"get": _get("Which model version answers, since when, and the last load error.", {"200": "The plan."})},
            "/livez": {"get": _get("The process is alive.", {"200": "Alive."})},
            "/readyz": {"get": _get("A champion answers.", {"200": "Ready.", "503": "No champion yet."})},
            "/metrics": {"get": _get("Prometheus metrics.", {"200": "Metrics."})},
        },
    }


def _predict(use_case: UseCase) -> Schema:
    columns = request_columns(use_case)
    row = _object({column.name: _property(column) for column in columns})
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": MAX_ROWS}
    example = {"rows": [{column.name: column.example for column in columns}]}
    predictions = {"type": "array", "items": _object(PREDICTION)}
    answer = _object({"predictions": predictions, "model_version": {"type": "integer"}, "latency_ms": {"type": "number"}})
    errors = {"type": "array", "items": _object(PROBLEM)}
    refused = _object({"error": _object(PROBLEM), "errors": errors, "total_errors": {"type": "integer"}})
    return {
        "summary": use_case.question,
        "operationId": "predict",
        "requestBody": {"required": True, "content": _json(_object({"rows": rows}), example)},
        "responses": {
            "200": {"description": "One prediction a row, in order.", "content": _json(answer)},
            "400": {"description": "What is wrong with the request, and what is legal.", "content": _json(refused)},
            "503": {"description": "No champion answers yet; try again after Retry-After seconds."},
        },
    }


def _property(column: Column) -> Schema:
    said = TYPES[column.dtype] | {"description": f"{column.description} Legal: {legal_values(column)}."}
    facets = {
        "nullable": column.nullable or None,
        "pattern": column.pattern,
        "enum": list(column.allowed) or None,
        "minimum": column.min,
        "maximum": column.max,
        "example": column.example,
    }
    return said | {name: value for name, value in facets.items() if value is not None}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _json(schema: Schema, example: Any = None) -> Schema:
    return {"application/json": {"schema": schema} | ({"example": example} if example else {})}


def _get(summary: str, responses: dict[str, str]) -> Schema:
    return {"summary": summary, "responses": {status: {"description": said} for status, said in responses.items()}}
