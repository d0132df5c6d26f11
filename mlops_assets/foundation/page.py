"""HTML pages from `templates/*.html.jinja`: self-contained files with escaped values."""

import base64
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

NONE = "–"


def render(template: str, **values: object) -> str:
    return _environment().get_template(f"{template}.html.jinja").render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(loader=PackageLoader("mlops_assets.foundation"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"number": number, "data_uri": data_uri, "code": code}
    return environment


def number(value: float | None, spec: str = "") -> str:
    """Formatted by `spec`, else with four significant digits; a dash for None."""
    if value is None:
        return NONE
    if spec or abs(value) < 1000:
        return format(value, spec or ".4g")
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"  # no comma in a year


def code(text: str) -> Markup:
    """A sentence whose commands stand between backticks, which others may have written."""
    parts = enumerate(text.split("`"))
    return Markup().join(Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in parts)


def data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
