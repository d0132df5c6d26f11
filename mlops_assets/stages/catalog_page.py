"""The feature catalogue as people read it: a page that needs nothing besides itself, and aligned text.

Belongs here: layout and the shape of numbers. Not here: what is said (catalog.py).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape

from mlops_assets.stages.catalog import Catalog, FeatureEntry, Statistics, ViewEntry
from mlops_assets.stages.page import page

NONE = "–"
NUMBERS = ("missing", "min", "median", "mean", "max", "distinct")
UNITS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}
STYLE = """
th.name { width: 32%; } th.used { width: 17%; } @media (max-width: 48rem) { td.used { grid-column: 1 / -1; } }
"""


def as_html(catalog: Catalog) -> str:
    """One self-contained page, for a wide screen and for a phone."""
    links = "".join(f'<a href="#{escape(view.name)}">{escape(view.name)}</a>' for view in catalog.views)
    said = f"<p>{escape(catalog.question)}</p><p class=faint>{escape(_summary(catalog))}</p><nav>{links}</nav>"
    return page(f"Features of {catalog.use_case}", said, *(_section(catalog, view) for view in catalog.views), style=STYLE)


def as_text(catalog: Catalog) -> str:
    """The same for a terminal: one aligned line per feature below its view."""
    heads = ("feature", "type", "used by", *NUMBERS)
    lines = {view.name: [_cells(feature) for feature in view.features] for view in catalog.views}
    every = [heads, *(cells for rows in lines.values() for cells in rows)]
    widths = [max(len(cells[at]) for cells in every) for at in range(len(heads))]
    said = [f"{catalog.use_case} · {catalog.question}", _summary(catalog)]
    for view in catalog.views:
        said += [
            "",
            f"{view.name} · {view.description}",
            f"  {' · '.join(_facts(catalog, view))}",
            f"  {_aligned(heads, widths)}",
        ]
        said += [f"  {_aligned(cells, widths)}" for cells in lines[view.name]]
    return "\n".join(said)


def _summary(catalog: Catalog) -> str:
    features = [feature for view in catalog.views for feature in view.features]
    unused = sum(not feature.used_by for feature in features)
    champion = f"version {catalog.champion} answers" if catalog.champion else "nobody answers yet"
    read = f"{unused} read by no model" if unused else "all read by a model"
    window = f"statistics of the last {catalog.window.days} days of each view"
    return f"{len(features)} features in {len(catalog.views)} views, {read}; {champion}; {window}."


def _facts(catalog: Catalog, view: ViewEntry) -> list[str]:
    """Who owns it, what it is about, how long a value holds, how fresh it is."""
    behind = catalog.behind(view)
    late = f", {_span(behind)} behind the newest view" if behind else ""
    lasts = f"holds for {_span(view.ttl)}" if view.ttl else "never expires"
    rows = max((feature.statistics.rows for feature in view.features), default=0)
    newest = f"newest row {_moment(view.newest)}{late}"
    return [view.owner, f"by {' and '.join(view.entities)}", lasts, newest, f"{rows:,} recent rows"]


def _section(catalog: Catalog, view: ViewEntry) -> str:
    chips = "".join(f"<span class=chip>{escape(fact)}</span>" for fact in _facts(catalog, view))
    heads = "<th class=name>feature</th><th class=used>used by</th>" + "".join(
        f"<th class=number>{name}</th>" for name in NUMBERS
    )
    rows = "".join(_line(feature) for feature in view.features)
    return (
        f'<section id="{escape(view.name)}"><h2>{escape(view.name)}</h2><p>{escape(view.description)}</p>'
        f"<div class=chips>{chips}</div><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _line(feature: FeatureEntry) -> str:
    used = escape(", ".join(feature.used_by)) or "<span class=warn>no model</span>"
    about = (
        f"<code>{escape(feature.name)}</code> <span class=faint>{escape(feature.type)}<br>{escape(feature.description)}</span>"
    )
    numbers = zip(NUMBERS, _numbers(feature.statistics), strict=True)
    cells = "".join(f'<td class=number data-label="{name}">{escape(value)}</td>' for name, value in numbers)
    return f'<tr><td class=name>{about}</td><td class=used data-label="used by">{used}</td>{cells}</tr>'


def _cells(feature: FeatureEntry) -> tuple[str, ...]:
    return (feature.name, feature.type, ", ".join(feature.used_by) or "no model", *_numbers(feature.statistics))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = len(cells) - len(NUMBERS)
    sides = ("<" if at < texts else ">" for at in range(len(cells)))
    return "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(cells, sides, widths, strict=True)).rstrip()


def _numbers(found: Statistics) -> Iterable[str]:
    missing = NONE if found.null_share is None else f"{found.null_share:.1%}"
    values = (_number(value) for value in (found.min, found.p50, found.mean, found.max))
    return missing, *values, f"{found.distinct:,}"


def _number(value: float | None) -> str:
    if value is None:
        return NONE
    if abs(value) < 1000:
        return f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"  # a year bears no comma


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "none yet"


def _span(span: timedelta) -> str:
    """In the largest unit that holds it."""
    unit, name = next((unit, name) for name, unit in UNITS.items() if span >= unit or unit is UNITS["minute"])
    count = f"{span / unit:.2g}" if span < 10 * unit else f"{span / unit:,.0f}"
    return f"{count} {name}" if count == "1" else f"{count} {name}s"
