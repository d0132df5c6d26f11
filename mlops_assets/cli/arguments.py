"""What all commands share: arguments, the environment, the account, and how errors are shown."""

import logging
import os
import pwd
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperGroup

from mlops_assets.foundation.home import Environment, Home, read_environment
from mlops_assets.foundation.interrupt import end
from mlops_assets.foundation.mistakes import describe_mistake, is_correctable
from mlops_assets.foundation.outages import describe_outage
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import NOT_LOADED, USE_CASES

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore
    from mlops_assets.resources import FeatureStoreResource, Resources

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h


def account() -> str:
    """The user who runs the command."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a uid without a name
        return f"uid {os.getuid()}"


def printable(text: str) -> str:
    """The callback of an option that is stored as text."""
    if not text.isprintable():
        raise typer.BadParameter(f"found {text!r}; legal: printable text, on one line.")
    return text


def selected() -> list[str]:
    """The use cases that the environment names, or else all."""
    return [*read_environment(os.environ).use_cases] or [use_case.name for use_case in USE_CASES]


def served_here() -> list[str]:
    """The selected use cases that this home has served; all of them where it has served none."""
    names = selected()
    return [name for name in names if len(names) > 1 and (environment().home.deployments / name).exists()] or names


def _use_case() -> str:
    """The only selected use case, or the only one of them that this home has served."""
    if len(names := served_here()) == 1:
        return names[0]
    legal = ", ".join(names) or "none, as none loads"
    raise typer.BadParameter(f"no use case is named; legal: {legal}. Name one, or set MLOPS_USE_CASE to one.")


Name = Annotated[str, typer.Argument(help="The name of the use case.")]
OfUseCase = Annotated[
    str,
    typer.Option(
        "--use-case", help="The use case.", default_factory=_use_case, show_default="MLOPS_USE_CASE, or the only one served here"
    ),
]
By = Annotated[str, typer.Option(help="Who decides.", callback=printable, default_factory=account, show_default="this user")]
Json = Annotated[bool, typer.Option("--json", help="Print everything as JSON, for programs.")]

FileOfRows = Annotated[
    list[str],
    typer.Option(
        "--file", default_factory=list, metavar="FILE | TABLE=FILE", show_default="the tables of the home, or its landed files",
        help="Rows to read instead of those of the home; without TABLE the requests and their labels. May be repeated.",
    ),
]  # fmt: skip


def files_of(use_case: UseCase, files: list[str]) -> dict[str, Path]:
    """By table."""
    legal, by_table = [contract.table for contract in use_case.contracts], dict[str, Path]()
    for text in files:
        table, _, name = text.rpartition("=")
        if table and table not in legal:
            raise typer.BadParameter(f"--file · found table {table!r}; declared: {', '.join(legal)}. Use one of these.")
        if not Path(name).is_file():
            raise typer.BadParameter(f"--file · {name} is no file. Correct the path.")
        by_table |= dict.fromkeys([table] if table else [use_case.features.request_table, use_case.label.table], Path(name))
    return by_table


class Commands(TyperGroup):
    """Shows every error as one message on stderr; with --debug, which is legal anywhere on the line, as a traceback.

    An error that is the caller's to correct (foundation/mistakes.py), and an outage, has exit code 1. Every other one is a
    defect: exit code 70.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, sorted(args, key=lambda argument: argument != "--debug"))

    def invoke(self, ctx: click.Context) -> Any:
        if signal.getsignal(signal.SIGINT) is end:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if not ctx.params.get("debug"):
            logging.getLogger().addFilter(_is_no_retry)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None
        except Exception as error:  # whatever a command raises, the user reads one sentence
            if ctx.params.get("debug"):
                raise
            message = describe_mistake(error) if is_correctable(error) else describe_outage(error)
            defect = f"internal error · {type(error).__name__}: {error}. Run the same with --debug to see where."
            typer.echo(message or defect, err=True)
            raise typer.Exit(1 if message else INTERNAL_ERROR) from None


def _is_no_retry(record: logging.LogRecord) -> bool:
    """Dagster logs each try to connect to Postgres, with the same three lines; the error that follows has them once."""
    return not record.getMessage().startswith("Retrying failed database")


def environment(*, creates_home: bool = False) -> Environment:
    """Of this process. Raises IllegalEnvironment and, unless the command may be the first of its home, NotAHome."""
    parsed = read_environment(os.environ)
    if not creates_home:
        parsed.home.require()
    parsed.home.share()
    return parsed


def open_resources(*, creates_home: bool = False) -> "Resources":
    from mlops_assets.resources import build_resources

    return build_resources(environment(creates_home=creates_home))


def declared(name: str) -> UseCase:
    for use_case in USE_CASES:
        if use_case.name == name:
            return use_case
    legal = ", ".join(use_case.name for use_case in USE_CASES)
    problems = "".join(f"\n{problem}" for problem in NOT_LOADED)
    raise typer.BadParameter(f"use case {name!r} is not declared; declared: {legal}. Use one of these.{problems}")


@contextmanager
def features_to_read(resource: "FeatureStoreResource", service: str) -> "Generator[FeatureStore]":
    """As `open` of the resource. Where nothing was applied yet, of a temporary folder: who reads creates nothing in the home."""
    home = Home(Path(resource.home))
    if (home.feast / "registry.db").exists():
        yield resource.open(service)
        return
    with TemporaryDirectory() as folder:
        Home(Path(folder)).tables.symlink_to(home.tables)
        yield type(resource)(home=folder, project=resource.project, redis_url=None).open(service)
