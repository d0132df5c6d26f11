"""The OpenAPI document of a prediction service, made from its declaration.

Belongs here: the document. Not here: the checks that it describes (request.py) and the routes (web.py).
"""

from typing import Any

from mlops_assets.serving.request import INPUTS, ROWS, input_columns, legal_values, request_columns
from mlops_assets.spec.contract import Column, DType
from mlops_assets.spec.use_case import UseCase

Schema = dict[str, Any]

TYPES: dict[DType, Schema] = {
    "string": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    # From MIN_YEAR of request.py to its MAX_YEAR.
    "datetime": {"type": "string", "format": "date-time", "pattern": r"^(19|2[01])\d\d-"},
    "bool": {"type": "boolean"},
}
PREDICTION: Schema = {
    "prediction_id": {"type": "string", "description": "Explains this answer later: features, model, data, gates."},
    "probability": {"type": "number", "minimum": 0, "maximum": 1},
    "decision": {"type": "boolean", "description": "The probability reaches the declared threshold."},
    "model_version": {"type": "integer"},
    "arm": {"type": "string", "enum": ["champion", "challenger"], "description": "Which side of a rollout answered."},
    "features_from": {
        "type": "string",
        "enum": ["online", "last_known", "point_in_time", "request"],
        "description": "The online store, its last known values while it is down, point-in-time retrieval where that store "
        "knows more than the prediction moment, or the request itself.",
    },
    "warnings": {"type": "array", "items": {"type": "string"}},
}
EXPLANATION: Schema = {
    "explanation": {
        "type": "object",
        "description": "With ?explain=true: what each input adds to the log-odds, against knowing nothing.",
    }
}
PROBLEM: Schema = {
    "row": {"type": "integer", "nullable": True, "description": "Counted from 0."},
    "field": {"type": "string", "nullable": True},
    "found": {"type": "string"},
    "legal": {"type": "string"},
    "next": {"type": "string"},
}
KEYS: Schema = {"bearer": {"type": "http", "scheme": "bearer"}, "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
REFUSALS = {
    "401": "An API key is missing, unknown or revoked.",
    "413": "The body is too large.",
    "429": "Too many requests, of this key or at once; try again after Retry-After seconds.",
    "503": "No champion answers yet, or features or log are out of reach; try again after Retry-After seconds.",
    "504": "The answer took too long.",
}


def openapi(use_case: UseCase) -> Schema:
    """OpenAPI 3.0.3, as plain JSON-able values."""
    return {
        "openapi": "3.0.3",
        "info": {"title": use_case.name, "description": use_case.question, "version": use_case.features.service},
        "components": {"securitySchemes": KEYS},
        "paths": {
            "/predict": {"post": _predict(use_case)},
            "/plan": {"get": _get("Which model version answers, since when, and the last load error.", {"200": "The plan."})},
            "/livez": {"get": _get("The process is alive.", {"200": "Alive."})},
            "/readyz": {"get": _get("A champion answers.", {"200": "Ready.", "503": "No champion yet."})},
            "/metrics": {"get": _get("Prometheus metrics.", {"200": "Metrics."})},
        },
    }


def _predict(use_case: UseCase) -> Schema:
    errors = {"type": "array", "items": _object(PROBLEM)}
    refused = _object({"error": _object(PROBLEM), "errors": errors, "total_errors": {"type": "integer"}})
    refusals = {
        status: {"description": said, "content": _json(_object({"error": _object(PROBLEM)}))} for status, said in REFUSALS.items()
    }
    return {
        "summary": use_case.question,
        "operationId": "predict",
        "security": [{}, *({name: []} for name in KEYS)],
        "parameters": [
            {
                "name": "explain",
                "in": "query",
                "description": "Adds an explanation to each prediction, for some 50 ms a row.",
                "schema": {"type": "boolean", "default": False},
            }
        ],
        "requestBody": {"required": True, "content": _json(*_request(use_case))},
        "responses": {
            "200": {"description": "One prediction a row, in order.", "content": _json(_answer())},
            "400": {"description": "What is wrong with the request, and what is legal.", "content": _json(refused)},
            **refusals,
        },
    }


def _request(use_case: UseCase) -> tuple[Schema, Schema]:
    """The schema of a request, and examples by name."""
    parts: Schema = {}
    for name, columns in ((ROWS, request_columns(use_case)), (INPUTS, input_columns(use_case))):
        one = _object({column.name: _property(column) for column in columns})
        parts[name] = {"type": "array", "items": one, "minItems": 1, "maxItems": use_case.serving.limits.max_rows}
    described = "rows: their features are looked up. features: taken as given; rows beside them, as many, are logged."
    schema: Schema = {"type": "object", "properties": parts, "additionalProperties": False, "description": described}
    schema["anyOf"] = [{"required": [name]} for name in parts]
    row = {column.name: column.example for column in request_columns(use_case)}
    given = {column.name: row.get(column.name) for column in input_columns(use_case)}
    examples = {"looked up": {ROWS: [row]}, "features given": {INPUTS: [given]}}
    return schema, {name: {"value": value} for name, value in examples.items()}


def _answer() -> Schema:
    prediction = _object(PREDICTION)
    prediction["properties"] |= EXPLANATION
    predictions = {"type": "array", "items": prediction}
    return _object({"predictions": predictions, "plan": {"type": "integer"}, "latency_ms": {"type": "number"}})


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
    return {"type": "object", "properties": dict(properties), "required": list(properties), "additionalProperties": False}


def _json(schema: Schema, examples: Schema | None = None) -> Schema:
    return {"application/json": {"schema": schema} | ({"examples": examples} if examples else {})}


def _get(summary: str, responses: dict[str, str]) -> Schema:
    return {"summary": summary, "responses": {status: {"description": said} for status, said in responses.items()}}
