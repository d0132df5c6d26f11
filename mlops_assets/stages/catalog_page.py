"""The feature catalogue as people read it: a page that needs nothing besides itself, and aligned text.

Belongs here: layout and the shape of numbers. Not here: what is said (catalog.py).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape

from mlops_assets.stages.catalog import Catalog, FeatureEntry, Statistics, ViewEntry

NONE = "–"
NUMBERS = ("missing", "min", "median", "mean", "max", "distinct")
UNITS = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}
STYLE = """
:root { color-scheme: light dark; --ink: #1e293b; --faint: #64748b; --line: #e2e8f0; --paper: #fff; --page: #f8fafc;
  --mark: #2563eb; --warn: #b45309; --chip: #f1f5f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e2e8f0; --faint: #94a3b8; --line: #334155; --paper: #1e293b;
  --page: #0f172a; --mark: #60a5fa; --warn: #fbbf24; --chip: #334155; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 0; } p { margin: .25rem 0; }
a { color: var(--mark); text-decoration: none; } nav { display: flex; flex-wrap: wrap; gap: .4rem; margin: 1rem 0; }
nav a, .chip { background: var(--chip); border-radius: 1rem; padding: .1rem .7rem; font-size: .85rem; }
.chips { display: flex; flex-wrap: wrap; gap: .4rem; margin: .6rem 0; } .faint { color: var(--faint); }
.warn { color: var(--warn); }
section { background: var(--paper); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem 1.25rem;
  margin-top: 1rem; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; font-size: .9rem; }
th { text-align: left; color: var(--faint); font-weight: 500; font-size: .8rem; }
th, td { padding: .45rem .6rem .45rem 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.name { width: 32%; } th.used { width: 17%; } code { font-size: .95em; font-weight: 600; overflow-wrap: anywhere; }
@media (max-width: 48rem) { thead { display: none; } tr { display: grid; grid-template-columns: repeat(3, 1fr);
  border-top: 1px solid var(--line); padding: .6rem 0; } td { border: 0; padding: .1rem .5rem .1rem 0; }
  td.name, td.used { grid-column: 1 / -1; } td.number { text-align: left; }
  td.number::before, td.used::before { content: attr(data-label) " "; color: var(--faint); font-size: .8rem; } }
"""


def as_html(catalog: Catalog) -> str:
    """One self-contained page, for a wide screen and for a phone."""
    title = f"Features of {escape(catalog.use_case)}"
    links = "".join(f'<a href="#{escape(view.name)}">{escape(view.name)}</a>' for view in catalog.views)
    sections = "".join(_section(catalog, view) for view in catalog.views)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{escape(catalog.question)}</p><p class=faint>{escape(_summary(catalog))}</p>"
        f"<nav>{links}</nav>{sections}</body></html>\n"
    )


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
