"""Python source of declared values: only what was declared, wrapped to the width of a line."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, cast

from mlops_assets.spec.spec import Spec

WIDTH, INDENT = 128, "    "


def to_code(value: Any) -> str:
    """On one line."""
    if isinstance(value, Spec | tuple):
        opening, items = _parts(value)
        last = "," if isinstance(value, tuple) and len(items) == 1 else ""
        return f"{opening}{', '.join(prefix + to_code(item) for prefix, item in items)}{last})"
    if isinstance(value, timedelta):
        return f"timedelta(days={value.days})"
    if isinstance(value, date):
        return f"date({value.year}, {value.month}, {value.day})"
    return _quoted(value) if isinstance(value, str) else repr(value)


def wrap(value: Any, prefix: str = "", *, indent: int = 1) -> str:
    """After `prefix`, with a line for each item of what is longer than a line; the first line is not indented."""
    code, margin = prefix + to_code(value), INDENT * indent
    if len(margin) + len(code) < WIDTH or not isinstance(value, Spec | tuple):
        return code
    opening, items = _parts(value)
    lines = (f"{margin}{INDENT}{wrap(item, name, indent=indent + 1)}," for name, item in items)
    return "\n".join([f"{prefix}{opening}", *lines, f"{margin})"])


def classes_in(value: Any) -> Iterator[type[Any]]:
    """What the source of the value must import."""
    if isinstance(value, Spec | date | timedelta):
        yield type(value)
    if isinstance(value, Spec | tuple):
        yield from (one for _, item in _parts(value)[1] for one in classes_in(item))


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]]]:
    """The opening parenthesis with what is before it, and each item with the text before it. Of a declaration the items are the
    fields with another value than the default, in the order of the class; what describes the others comes last.
    """
    if not isinstance(value, Spec):
        return "(", [("", item) for item in cast(tuple[Any, ...], value)]
    fields = type(value).model_fields
    names = [name for name in fields if name in value.model_fields_set and getattr(value, name) != fields[name].default]
    ordered = sorted(names, key=lambda name: name == "description")
    return f"{type(value).__name__}(", [(f"{name}=", getattr(value, name)) for name in ordered]


def _quoted(text: str) -> str:
    """In double quotes, unless that needs more backslashes, as ruff writes it."""
    code = repr(text)
    inner = code[1:-1]
    if code.startswith("'") and '"' not in inner:
        inner = inner.replace("\\'", "'")
        return f'"{inner}"'
    return code
