"""Python source of declared values: only what was declared, wrapped to the width of a line."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, cast

from mlops_assets.spec.spec import Spec

WIDTH, INDENT = 128, "    "


def to_code(value: Any) -> str:
    """On one line."""
    if isinstance(value, Spec):
        return f"{type(value).__name__}({', '.join(_fields(value))})"
    if isinstance(value, tuple):
        items = [to_code(item) for item in cast(tuple[Any, ...], value)]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if isinstance(value, timedelta):
        return f"timedelta(days={value.days})"
    if isinstance(value, date):
        return f"date({value.year}, {value.month}, {value.day})"
    return _quoted(value) if isinstance(value, str) else repr(value)


def wrap(value: Any, *, name: str = "", indent: int = 1) -> str:
    """The value, as the field `name` of a call, over as many lines as it needs; the first one is not indented."""
    prefix, code, margin = f"{name}=" if name else "", to_code(value), INDENT * indent
    if len(margin) + len(prefix) + len(code) < WIDTH or not isinstance(value, Spec | tuple):
        return f"{prefix}{code}"
    value = cast(Spec | tuple[Any, ...], value)
    opening = f"{type(value).__name__}(" if isinstance(value, Spec) else "("
    items = [*_wrapped(value, indent + 1)]
    if isinstance(value, Spec) and not any("\n" in item for item in items):
        aligned = " " * (len(margin) + len(prefix) + len(opening))
        return f"{prefix}{opening}" + "\n".join(fill(items, aligned)).strip().removesuffix(",") + ")"
    return f"{prefix}{opening}\n" + "\n".join(fill(items, margin + INDENT)) + f"\n{margin})"


def classes_in(value: Any) -> Iterator[type[Any]]:
    """What the source of the value must import."""
    if isinstance(value, Spec):
        yield type(value)
        yield from (one for name in _declared(value) for one in classes_in(getattr(value, name)))
    elif isinstance(value, tuple):
        yield from (one for item in cast(tuple[Any, ...], value) for one in classes_in(item))
    elif isinstance(value, date | timedelta):
        yield type(value)


def _declared(spec: Spec) -> list[str]:
    """The fields with another value than the default, in the order of the class; what describes the others comes last."""
    fields = type(spec).model_fields
    names = [name for name in fields if name in spec.model_fields_set and getattr(spec, name) != fields[name].default]
    return sorted(names, key=lambda name: name == "description")


def _fields(spec: Spec) -> Iterator[str]:
    yield from (f"{name}={to_code(getattr(spec, name))}" for name in _declared(spec))


def _wrapped(value: Spec | tuple[Any, ...], indent: int) -> Iterator[str]:
    if isinstance(value, Spec):
        yield from (wrap(getattr(value, name), name=name, indent=indent) for name in _declared(value))
    else:
        yield from (wrap(item, indent=indent) for item in value)


def fill(items: list[str], margin: str) -> Iterator[str]:
    """As many items a line as there is room; one of several lines has its own."""
    line = ""
    for item in items:
        if line and ("\n" in item or "\n" in line or len(margin) + len(line) + len(item) + 2 >= WIDTH):
            yield f"{margin}{line}"
            line = ""
        line = f"{line} {item}," if line else f"{item},"
    if line:
        yield f"{margin}{line}"


def _quoted(text: str) -> str:
    """In double quotes, unless that needs more backslashes, as ruff writes it."""
    code = repr(text)
    inner = code[1:-1]
    if code.startswith("'") and '"' not in inner:
        inner = inner.replace("\\'", "'")
        return f'"{inner}"'
    return code
