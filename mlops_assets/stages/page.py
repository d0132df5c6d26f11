"""The frame of our own pages: one file that needs nothing besides itself, in a light and a dark room, wide or narrow.

Belongs here: colours, type and the shell around the sections. Not here: what a page says (catalog_page.py,
side_by_side_page.py).
"""

from html import escape

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
code { font-size: .95em; font-weight: 600; overflow-wrap: anywhere; }
@media (max-width: 48rem) { thead { display: none; } tr { display: grid; grid-template-columns: repeat(3, 1fr);
  border-top: 1px solid var(--line); padding: .6rem 0; } td { border: 0; padding: .1rem .5rem .1rem 0; }
  td.name { grid-column: 1 / -1; } td.number { text-align: left; }
  td[data-label]::before { content: attr(data-label) " "; color: var(--faint); font-size: .8rem; } }
"""


def page(title: str, *body: str, style: str = "") -> str:
    """A whole page of HTML; `body` and `style` are written as they are, `title` is escaped."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body><h1>{escape(title)}</h1>"
        f"{''.join(body)}</body></html>\n"
    )
