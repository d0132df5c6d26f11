"""Terminal output with rich: tables and labelled facts. Outside a terminal, plain lines that are never wrapped or cut."""

import io
import sys
from collections.abc import Iterable, Mapping, Sequence

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

UNBOUNDED = 10_000  # columns: no line is cut where programs read


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    numbers: Sequence[str] = (),
    show_heads: bool = True,
) -> RenderableType:
    """A table without borders, one line per row. `numbers` are the right-aligned columns."""
    built = Table(box=None, show_header=show_heads, padding=(0, 2, 0, 0))
    for head in heads:
        built.add_column(head, justify="right" if head in numbers else "left", overflow="fold", header_style="bold")
    for row in rows:
        built.add_row(*(Text(one_line(cell)) for cell in row))
    # Outside the table: rich wraps its own title to the width of the table.
    return Group(Text(title, style="bold"), built) if title else built


def facts(title: str, values: Mapping[str, object]) -> RenderableType:
    """One line per labelled value."""
    return table(("", ""), values.items(), title=title, show_heads=False)


def show(*parts: RenderableType) -> None:
    """Prints to standard output, in colour on a terminal."""
    if sys.stdout.isatty():
        Console(highlight=False, markup=False, emoji=False).print(*parts, sep="\n")
    else:
        typer.echo(as_text(*parts))


def as_text(*parts: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=UNBOUNDED, highlight=False, markup=False, emoji=False, color_system=None)
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def one_line(text: object) -> str:
    """Text without line breaks and control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in str(text)).split())
