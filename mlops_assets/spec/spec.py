"""Spec: the base class of every declaration: frozen, closed to unknown fields, with readable errors."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class IllegalDeclaration(ValueError):
    """A declaration that cannot be built: where, what was found, what is legal, what to do."""


class Spec(BaseModel):
    """A frozen value of the vocabulary. Raises IllegalDeclaration when built from illegal fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise IllegalDeclaration(_readable(type(self), fields, error)) from None

    def but(self, **fields: Any) -> Self:
        """The same word with some fields changed, validated anew."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | fields)


def _readable(word: type[Spec], fields: dict[str, Any], error: ValidationError) -> str:
    named = fields.get("name") or fields.get("table")
    where = f"{named} · {word.__name__}" if named else word.__name__
    return "\n".join(_line(where, word, detail) for detail in error.errors())


def _line(where: str, word: type[Spec], detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{where} · field {field!r} does not exist; legal: {', '.join(word.model_fields)}. Remove or rename it."
    if detail["type"] == "missing":
        return f"{where} · field {field!r} is missing; required: {', '.join(_required(word))}. Add it."
    found = "" if not field else f" · {field} = {detail['input']!r}"
    return f"{where}{found} · {detail['msg'].removeprefix('Value error, ')}"


def _required(word: type[Spec]) -> list[str]:
    return [name for name, field in word.model_fields.items() if field.is_required()]
