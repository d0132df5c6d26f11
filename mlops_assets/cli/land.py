"""`mlops land`: a flat file, the example files, or what databases, APIs and streams have now, into the landing folder."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.arguments import Name, declared, environment, open_resources
from mlops_assets.foundation.home_lock import reading
from mlops_assets.foundation.wording import counted
from mlops_assets.spec.pulled_source import PulledSource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.ingestion.flat_file import LandedTable

ADDRESS = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
MAX_REASONS = 5
UNDECLARED = "Change first_day or last_day of the declaration, and land the file again."
PICKED_UP = "A platform that runs reads them within seconds. Where none runs: `mlops run {}`, or `mlops up`."


def land(
    use_case: Name,
    what: Annotated[
        str, typer.Argument(metavar="[FILE | FIRST_DAY]", help="A file or address to split, or the first day of the examples.")
    ] = "",
    last: Annotated[str, typer.Argument(metavar="[LAST_DAY]", help="Of the examples, included; by default the first day.")] = "",
    *,
    tables: Annotated[list[str] | None, typer.Option("--table", help="Of a file: land this table alone.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Of a file: write nothing, and show what would land.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Read databases, APIs and streams from the start.")] = False,
) -> None:
    """Split a file by table and day into the landing folder. Without one, read the databases, APIs and streams of a use case now,
    and deliver its example files.
    """
    declaration = declared(use_case)
    if ADDRESS.match(what) or Path(what or "-").exists():
        if last or anew:
            raise typer.BadParameter(f"{'LAST_DAY' if last else '--anew'} · it has no meaning for the file {what}. Leave it out.")
        return _land_file(declaration, what, tables or [], dry_run)
    begin, end = _day(what), _day(last)
    if tables or dry_run:
        option = "--table" if tables else "--dry-run"
        raise typer.BadParameter(f"{option} · it is of files; legal: mlops land {use_case} FILE {option}. Name a file.")
    if begin and end and begin > end:
        raise typer.BadParameter(f"{begin} to {end}: legal is the first day first. Swap them.")
    return _land_declared(declaration, begin, end, anew)


def _day(text: str) -> date | None:
    if not text:
        return None
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise typer.BadParameter(f"found {text!r}: {error}. Correct the day.") from None
    legal = "a file, an address such as s3://bucket/orders.csv, or a day as YYYY-MM-DD"
    raise typer.BadParameter(f"found {text!r}, and there is no such file; legal: {legal}. Correct it.")


def _land_file(use_case: UseCase, address: str, tables: list[str], dry_run: bool) -> None:
    from mlops_assets.ingestion.land_file import land_file
    from mlops_assets.ingestion.landing import Landing
    from mlops_assets.ingestion.remote_files import local_copy

    home = environment(creates_home=True).home
    with local_copy(address) as file:
        if dry_run:
            landed = land_file(use_case, file, landing=Landing(home.landing), tables=tables, dry_run=True)
        else:
            with reading(home.root):  # an erasure waits for it
                landed = land_file(use_case, file, landing=Landing(home.landing), tables=tables)
        for table in landed:
            for line in _describe(use_case, table, dry_run):
                typer.echo(line)
    if dry_run:
        typer.echo("Nothing was written. The same without --dry-run lands it.")
    elif any(table.status["new"] + table.status["changed"] for table in landed):
        typer.echo(_what_follows(use_case.name))
    elif any(table.outside for table in landed) and not any(table.rows for table in landed):
        typer.echo("Nothing landed.")
        raise typer.Exit(1)
    else:
        typer.echo("Nothing has changed.")


def _describe(use_case: UseCase, landed: "LandedTable", dry_run: bool) -> Iterator[str]:
    noun, keys, status = landed.calendar.noun, landed.keys, landed.status
    span = f"{keys[0]} to {keys[-1]}, " if len(keys) > 1 else "".join(f"{key}, " for key in keys)
    files = ", ".join(f"{status[name]} {name}" for name in ("new", "changed", "same"))
    yield f"{landed.table}: {landed.rows:,} rows in {len(keys):,} {noun}{'s' * (len(keys) != 1)} ({span}files: {files})"
    if landed.others:
        yield f"  {landed.others:,} rows have no values of this table, or the same as another one, and do not land in it"
    if landed.outside:
        legal = f"{use_case.first_day} to {use_case.last_day}" if use_case.last_day else f"from {use_case.first_day} on"
        yield f"  {landed.outside:,} rows do not land: they are of other {noun}s than the declared ones, {legal}. {UNDECLARED}"
    if landed.retracted:
        yield f"  {landed.retracted:,} landed rows of changed {noun}s are not in the file, and are replaced with them"
    if dry_run:
        share = f" ({landed.refused / landed.rows:.1%})" if landed.refused else ""
        yield f"  the contract refuses {landed.refused:,} rows{share}"
        yield from (f"    {count:,} × {reason}" for reason, count in landed.reasons.most_common(MAX_REASONS))
    if landed.example:
        yield f"    for example {landed.example}"
    if refused := landed.refused_keys:
        yield f"    and as a whole {len(refused)} {noun}{'s' * (len(refused) != 1)} with too many of them, first {refused[0]}"


def _land_declared(declaration: UseCase, first: date | None, last: date | None, anew: bool) -> None:
    from mlops_assets.ingestion.delivery import complete
    from mlops_assets.ingestion.examples import land_example
    from mlops_assets.ingestion.landing import Landing

    use_case = declaration.name
    pulled = [source for source in declaration.sources if isinstance(source, PulledSource)]
    if not declaration.example and not pulled:
        problem = "declares no example deliveries, and no source that is read"
        remedy = f"Name a file: mlops land {use_case} FILE; or put files into landing/{use_case}/TABLE/ of the home"
        raise typer.BadParameter(f"{use_case} {problem}. {remedy}.")
    for source in pulled:
        result = open_resources(creates_home=True)["pulling"].pull(source, declaration, now=datetime.now(UTC), anew=anew)
        outside = f", {result.outside:,} of undeclared days" if result.outside else ""
        typer.echo(f"{source.table}: {result.read:,} rows read{outside}; files new or changed: {len(result.files)}.")
    landing = Landing(environment(creates_home=True).home.landing)
    complete(landing.root, use_case)
    if declaration.example:
        begin = first or declaration.first_day or date.min
        landed = land_example(declaration, landing, begin, last or begin)
        typer.echo(f"{counted(landed.files, 'file')}, {landed.changed} new or changed.")
    typer.echo(_what_follows(use_case))


def _what_follows(use_case: str) -> str:
    """Who reads the landed files, and when; during a pause, what ends it."""
    from mlops_assets.promotion.pauses import pauses_in_force

    pause = pauses_in_force(open_resources()["ledger"].open(), datetime.now(UTC)).get(use_case)
    return f"Nothing reads them by itself now. {pause}" if pause else PICKED_UP.format(use_case)
