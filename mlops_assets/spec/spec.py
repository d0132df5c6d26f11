"""Spec: the base class of every declaration: frozen, closed to unknown fields, with readable errors."""

from collections.abc import Iterator
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError

NAMED_BY = ("name", "table", "service")  # the first of these fields that a value has distinguishes it from others of its class


class IllegalDeclaration(ValueError):
    """A declaration that cannot be built: where, what was found, what is legal, what to do."""


class Spec(BaseModel):
    """A frozen value of the vocabulary. Values without a name are those of the first fields, in order. Raises IllegalDeclaration
    when built from illegal fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    def __init__(self, *values: Any, **fields: Any) -> None:
        fields = _named(type(self), values, fields)
        names = [fields[key] for key in NAMED_BY if isinstance(fields.get(key), str)]
        where = " · ".join([*names[:1], type(self).__name__])
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise IllegalDeclaration("\n".join(_line(where, type(self), detail) for detail in error.errors())) from None
        if problems := [f"{where} · {problem}" for problem in (*_repeated(self), *self.contradictions())]:
            raise IllegalDeclaration("\n".join(problems))

    def contradictions(self) -> Iterator[str]:
        """What makes legal fields illegal together, a sentence each."""
        yield from ()

    def but(self, **fields: Any) -> Self:
        """The same declaration with some fields changed, validated again; what is left out gets its defaults again."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | fields)


def _named(spec: type[Spec], values: tuple[Any, ...], fields: dict[str, Any]) -> dict[str, Any]:
    names = (*spec.model_fields,)
    if len(values) > len(names):
        raise IllegalDeclaration(
            f"{spec.__name__} · {len(values)} values; its fields: {', '.join(names) or 'none'}. Remove the others."
        )
    positional = dict(zip(names, values, strict=False))
    if repeated := ", ".join(positional.keys() & fields.keys()):
        raise IllegalDeclaration(f"{spec.__name__} · {repeated}: a value with the name and one without. Keep one.")
    return positional | fields


def _repeated(spec: Spec) -> Iterator[str]:
    """Names and values that a field contains twice. Numbers may repeat, as the sizes of layers do."""
    for field in type(spec).model_fields:
        value = getattr(spec, field)
        items = cast(tuple[object, ...], value) if isinstance(value, tuple) else ()
        names = [_name_of(item) for item in items if isinstance(item, Spec | str)]
        for name in (name for index, name in enumerate(names) if names[:index].count(name) == 1):
            yield f"{field} · {name!r} is declared twice. Keep one."


def _name_of(item: object) -> object:
    fields = type(item).model_fields if isinstance(item, Spec) else ()
    return next((getattr(item, key) for key in NAMED_BY if key in fields), item)


def _line(where: str, spec: type[Spec], detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{where} · field {field!r} does not exist; legal: {', '.join(spec.model_fields)}. Remove or rename it."
    if detail["type"] == "missing":
        required = ", ".join(name for name, info in spec.model_fields.items() if info.is_required())
        return f"{where} · field {field!r} is missing; required: {required}. Add it."
    found = f" · {field} = {detail['input']!r}" if field else ""
    return f"{where}{found} · {detail['msg']}. Correct it."
