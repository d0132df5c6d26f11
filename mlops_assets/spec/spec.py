"""Spec: the base class of every declaration: frozen, closed to unknown fields, with readable errors."""

from collections.abc import Iterator
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class IllegalDeclaration(ValueError):
    """A declaration that cannot be built: where, what was found, what is legal, what to do."""


class Spec(BaseModel):
    """A frozen value of the vocabulary. Raises IllegalDeclaration when built from illegal fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **fields: Any) -> None:
        names = [str(fields[key]) for key in ("name", "table") if fields.get(key)]
        where = " · ".join([*names[:1], type(self).__name__])
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise IllegalDeclaration("\n".join(_line(where, type(self), detail) for detail in error.errors())) from None
        for contradiction in self.contradictions():
            raise IllegalDeclaration(f"{where} · {contradiction}")

    def contradictions(self) -> Iterator[str]:
        """What makes legal fields illegal together, a sentence each."""
        yield from ()

    def but(self, **fields: Any) -> Self:
        """The same declaration with some fields changed, validated again."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | fields)


def _line(where: str, spec: type[Spec], detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{where} · field {field!r} does not exist; legal: {', '.join(spec.model_fields)}. Remove or rename it."
    if detail["type"] == "missing":
        required = ", ".join(name for name, info in spec.model_fields.items() if info.is_required())
        return f"{where} · field {field!r} is missing; required: {required}. Add it."
    found = f" · {field} = {detail['input']!r}" if field else ""
    return f"{where}{found} · {detail['msg']}"
