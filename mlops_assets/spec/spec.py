"""Spec: the base class of every declaration: frozen, closed to unknown fields, with readable errors."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any, Self, cast
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError


def _require_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise PydanticCustomError("time_zone", "Input should be a time zone, such as UTC or Europe/Berlin") from None
    return name


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]  # is part of file names, and an identifier in Postgres
Text = Annotated[str, Field(min_length=1)]
TimeZone = Annotated[str, AfterValidator(_require_zone)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy takes
CENTURY = timedelta(days=36_525)  # sums of shorter durations and moments stay within Python's range
NAMED_BY = ("name", "table", "service")  # the first of these fields that a value has distinguishes it from others of its class

# Instead of pydantic's own texts.
MESSAGES: dict[str, str] = {
    "time_delta_type": "Input should be a duration with its unit, such as timedelta(days=30)",
    "date_type": "Input should be a date, such as date(2024, 3, 1)",
}


class IllegalDeclaration(ValueError):
    """A declaration that cannot be built: where, what was found, what is legal, what to do."""


class Spec(BaseModel):
    """A frozen value of the vocabulary. Values without a name are those of the first fields, in order. A list is a tuple; nothing
    else is converted, so that 36 is no duration of 36 seconds. Raises IllegalDeclaration when built from illegal fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False, strict=True)

    def __init__(self, *values: Any, **fields: Any) -> None:
        fields = _named(type(self), values, fields)
        names = [fields[key] for key in NAMED_BY if isinstance(fields.get(key), str)]
        where = " · ".join([*names[:1], type(self).__name__])
        details = [*_too_long(fields)]
        try:
            super().__init__(**fields)
        except ValidationError as error:
            details += error.errors()
        if details:
            raise IllegalDeclaration("\n".join(_lines(where, type(self), details)))
        if problems := [f"{where} · {problem}" for problem in (*_repeated(self), *self.contradictions())]:
            raise IllegalDeclaration("\n".join(problems))

    def contradictions(self) -> Iterator[str]:
        """What makes legal fields illegal together, a sentence each."""
        yield from ()

    def but(self, **fields: Any) -> Self:
        """The same declaration with some fields changed, validated again; what is left out gets its defaults again."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | fields)


def _too_long(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Not by pydantic: a validator of each field of each class would take a quarter of the time in which the vocabulary loads."""
    for name, value in fields.items():
        if isinstance(value, timedelta) and abs(value) > CENTURY:
            yield {"type": "too_long", "loc": (name,), "input": value, "msg": "Input should be at most 100 years"}


def _named(spec: type[Spec], values: tuple[Any, ...], fields: dict[str, Any]) -> dict[str, Any]:
    names = (*spec.model_fields,)
    if len(values) > len(names):
        raise IllegalDeclaration(
            f"{spec.__name__} · {len(values)} values; its fields: {', '.join(names) or 'none'}. Remove the others."
        )
    positional = dict(zip(names, values, strict=False))
    if repeated := ", ".join(positional.keys() & fields.keys()):
        raise IllegalDeclaration(f"{spec.__name__} · {repeated}: a value with the name and one without. Keep one.")
    declared = positional | fields
    return {name: tuple(cast(list[Any], value)) if isinstance(value, list) else value for name, value in declared.items()}


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


def _lines(where: str, spec: type[Spec], details: Sequence[Any]) -> Iterator[str]:
    """One a field: of a union pydantic reports each member, with its name in the place of the error."""
    by_field: dict[str, list[Any]] = {}
    for detail in details:
        place = (part for number, part in enumerate(detail["loc"]) if not number or isinstance(part, int))
        by_field.setdefault(".".join(map(str, place)), []).append(detail)
    # A tuple with an illegal item is too short as well, for pydantic counts the legal ones.
    inner = {field.rpartition(".")[0] for field in by_field}
    return (_line(where, spec, field, one) for field, one in by_field.items() if field not in inner or not field)


def _line(where: str, spec: type[Spec], field: str, details: Sequence[Any]) -> str:
    kinds = {detail["type"] for detail in details}
    if "extra_forbidden" in kinds:
        return f"{where} · field {field!r} does not exist; legal: {', '.join(spec.model_fields)}. Remove or rename it."
    if "missing" in kinds:
        required = ", ".join(name for name, info in spec.model_fields.items() if info.is_required())
        return f"{where} · field {field!r} is missing; required: {required}. Add it."
    value = details[0]["input"]
    shown = f"{value.__name__}, a class without its parentheses" if isinstance(value, type) else repr(value)
    return f"{where}{f' · {field} = {shown}' if field else ''} · {_message(details)}. Correct it."


def _message(details: Sequence[Any]) -> str:
    classes: list[str] = [detail["ctx"]["class_name"] for detail in details if detail["type"] == "model_type"]
    texts: list[str] = [MESSAGES.get(detail["type"]) or detail["msg"] for detail in details if detail["type"] != "model_type"]
    if classes:
        texts.append(f"Input should be an instance of {' or '.join(filter(None, [', '.join(classes[:-1]), classes[-1]]))}")
    return " or ".join(dict.fromkeys(texts))
