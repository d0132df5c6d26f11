"""Candidate and champion side by side as people read it: one page that needs nothing besides itself.

Belongs here: layout, colour and the shape of numbers. Not here: what is said (side_by_side.py), the shell (page.py) and
the pictures (plots.py, whose bytes are given).
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from mlops_assets.stages.page import page
from mlops_assets.stages.side_by_side import FEWEST, Change, Example, Flips, SideBySide

NONE = "–"
MEANING = {
    "auc": "how often a positive row ranks above a negative one",
    "average_precision": "precision, averaged over how many positives are found",
    "brier": "squared distance of the probability from the truth; lower is better",
    "log_loss": "surprise at the truth, in nats; lower is better",
    "ece": "distance of the probability from what then happens; lower is better",
}
WIDTH, HEIGHT = 150, 18  # pixels of the drawing of one difference
STYLE = """
:root { --good: #047857; --bad: #b91c1c; --good-tint: #d1fae5; --bad-tint: #fee2e2; }
@media (prefers-color-scheme: dark) { :root { --good: #34d399; --bad: #f87171; --good-tint: #064e3b; --bad-tint: #7f1d1d; } }
.headline { border-left: .4rem solid var(--faint); font-size: 1.1rem; }
.headline.better { border-color: var(--good); } .headline.worse { border-color: var(--bad); }
.mark { border-radius: 1rem; padding: .1rem .7rem; font-size: .85rem; background: var(--chip); white-space: nowrap; }
.mark.better { background: var(--good-tint); color: var(--good); } .mark.worse { background: var(--bad-tint); color: var(--bad); }
th.name { width: 26%; } th.difference { width: 15rem; } th.drawn { width: 170px; } th.outcome { width: 8.5rem; }
td, th { vertical-align: middle; } svg { display: block; max-width: 100%; } svg .zero { stroke: var(--line); }
svg line, svg circle { stroke: var(--faint); fill: var(--faint); stroke-width: 2; }
svg.better .found { stroke: var(--good); fill: var(--good); } svg.worse .found { stroke: var(--bad); fill: var(--bad); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem 2rem; margin-top: .6rem; }
.pair img { max-width: 100%; height: auto; border-radius: .5rem; background: #fff; }
.bar { display: flex; height: .8rem; border-radius: .4rem; overflow: hidden; margin: .4rem 0; background: var(--chip); }
.bar .right { background: var(--good); } .bar .wrong { background: var(--bad); }
.few { margin-bottom: 1rem; }
@media (max-width: 48rem) { .pair { grid-template-columns: 1fr; } .headline { font-size: 1rem; }
  .changes td.name { grid-area: 1 / 1 / 2 / 3; } .changes td.outcome { grid-area: 1 / 3; text-align: right; }
  .changes td.difference { grid-area: 3 / 1 / 4 / 4; } td.outcome { padding-right: 0; }
  .mark { font-size: .8rem; padding: .1rem .5rem; } .few td::before { display: block; } }
"""


def as_html(told: SideBySide, pictures: Mapping[str, bytes]) -> str:
    """One self-contained page, for a wide screen and for a phone. `pictures` are PNG bytes by what they show."""
    return page(
        told.title,
        f"<p>{escape(told.question)}</p><div class=chips>{_chips(told)}</div>",
        f'<section class="headline {told.decisive.outcome}"><p>{escape(told.headline())}</p></section>',
        _section("What changes", _table(told.metrics, "metric", MEANING)),
        _groups(told),
        _section("Decisions that change", _decisions(told)),
        _examples(told),
        _section("Probabilities", _pictures(pictures)),
        style=STYLE,
    )


def _chips(told: SideBySide) -> str:
    share = told.positives / told.rows
    facts = (
        f"{told.rows:,} test rows",
        f"{told.first:%Y-%m-%d} to {told.last:%Y-%m-%d}",
        f"{share:.1%} {told.label}",
        f"{told.label} is decided from {told.threshold:g}",
    )
    return "".join(f"<span class=chip>{escape(fact)}</span>" for fact in facts)


def _section(title: str, *body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(body)}</section>"


def _groups(told: SideBySide) -> str:
    if not told.groups:
        return ""
    note = (
        f"{told.metric} by group, with what changed most first. By chance alone one to four of a hundred groups look changed; "
        f"with fewer than {FEWEST} rows of a class nothing can be told."
    )
    about = {change.name: f"{change.rows:,} rows, {change.positives / change.rows:.0%} {told.label}" for change in told.groups}
    return _section("For whom", f"<p class=faint>{escape(note)}</p>", _table(told.groups, "group", about))


def _table(changes: Sequence[Change], first: str, about: Mapping[str, str]) -> str:
    heads = (
        f"<th class=name>{first}</th><th class=number>champion</th><th class=number>candidate</th>"
        "<th class='number difference'>better by</th><th class=drawn></th><th class=outcome></th>"
    )
    told = [change for change in changes if change.outcome != "cannot tell"]
    widest = max((abs(bound or 0) for change in told for bound in (change.low, change.high)), default=0) or 1.0
    lines = "".join(_line(change, about.get(change.name, ""), widest) for change in changes)
    return f"<table class=changes><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def _line(change: Change, about: str, widest: float) -> str:
    values = (("champion", _number(change.before)), ("candidate", _number(change.after)))
    cells = "".join(f'<td class=number data-label="{label}">{value}</td>' for label, value in values)
    better = f"{_signed(change.difference)} [{_signed(change.low)}, {_signed(change.high)}]"
    return (
        f"<tr><td class=name><code>{escape(change.name)}</code><br><span class=faint>{escape(about)}</span></td>{cells}"
        f'<td class="number difference" data-label="better by">{better}</td><td class=drawn>{_drawing(change, widest)}</td>'
        f'<td class=outcome><span class="mark {change.outcome}">{change.outcome}</span></td></tr>'
    )


def _drawing(change: Change, widest: float) -> str:
    """The difference as a dot with its interval, beside the line of no difference; `widest` reaches the border."""
    if change.outcome == "cannot tell":
        return ""
    low, at, high = (WIDTH / 2 * (1 + 0.95 * (value or 0) / widest) for value in (change.low, change.difference, change.high))
    middle, half = WIDTH / 2, HEIGHT / 2
    return (
        f'<svg class="{change.outcome}" width={WIDTH} height={HEIGHT} viewBox="0 0 {WIDTH} {HEIGHT}" role=img '
        f'aria-label="{change.outcome}"><line class=zero x1={middle:g} y1=0 x2={middle:g} y2={HEIGHT} />'
        f"<line class=found x1={low:.1f} y1={half:g} x2={high:.1f} y2={half:g} />"
        f"<circle class=found cx={at:.1f} cy={half:g} r=3 /></svg>"
    )


def _decisions(told: SideBySide) -> str:
    return f"<div class=pair>{''.join(_flip(flip, told.label) for flip in told.flips)}</div>"


def _flip(flip: Flips, label: str) -> str:
    now, before = (label, f"not {label}") if flip.decision else (f"not {label}", label)
    wrong = flip.rows - flip.right
    bar = f'<div class=right style="flex:{flip.right}"></div><div class=wrong style="flex:{wrong}"></div>'
    return (
        f"<div><p><strong>{flip.rows:,}</strong> rows are now decided <strong>{escape(now)}</strong>, "
        f"before {escape(before)}.</p>"
        f"<div class=bar>{bar if flip.rows else ''}</div>"
        f"<p class=faint>{flip.right:,} become right{_share(flip.right, flip.rows)}, {wrong:,} become wrong.</p></div>"
    )


def _share(part: int, whole: int) -> str:
    return f" ({part / whole:.0%})" if whole else ""


def _examples(told: SideBySide) -> str:
    sides = (("Rows that gain most", told.gained), ("Rows that lose most", told.lost))
    shown = "".join(_few(title, examples, told.label) for title, examples in sides if examples)
    return _section("Examples", shown) if shown else ""


def _few(title: str, examples: Sequence[Example], label: str) -> str:
    named = tuple(examples[0].facts)
    numbers = ("champion", "candidate", "truth")
    heads = "".join(f"<th>{escape(name)}</th>" for name in named) + "".join(f"<th class=number>{name}</th>" for name in numbers)
    rows = "".join(f"<tr>{_example(one, label)}</tr>" for one in examples)
    return f"<p class=faint>{title}</p><table class=few><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _example(one: Example, label: str) -> str:
    facts = (f'<td data-label="{escape(name)}">{escape(value)}</td>' for name, value in one.facts.items())
    truth = label if one.truth else f"not {label}"
    told: Iterable[tuple[str, str]] = (("champion", f"{one.before:.2f}"), ("candidate", f"{one.after:.2f}"), ("truth", truth))
    return "".join(facts) + "".join(f'<td class=number data-label="{name}">{escape(value)}</td>' for name, value in told)


def _pictures(pictures: Mapping[str, bytes]) -> str:
    shown = (
        f'<img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for name, png in pictures.items()
    )
    return f"<div class=pair>{''.join(shown)}</div>"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return NONE if value is None else f"{value:+.4f}"
