"""What every command is told alike: which use case, where, by whom. Not here: any command."""

import os
import pwd
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mlops_assets.ports.home import Environment, IllegalEnvironment, read_environment
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import USE_CASES

PROJECT = Path(__file__).resolve().parent.parent
Name = Annotated[str, typer.Argument(help="The use case, such as flight_delay.")]


def environment() -> Environment:
    """Of this process; one that cannot be ends the command."""
    with told_plainly(IllegalEnvironment):
        return read_environment(os.environ, PROJECT)


def declared(name: str) -> UseCase:
    for use_case in USE_CASES:
        if use_case.name == name:
            return use_case
    legal = ", ".join(use_case.name for use_case in USE_CASES)
    raise typer.BadParameter(f"use case {name!r} is not declared; declared: {legal}. Use one of these.")


def account() -> str:
    """Who is at the keyboard."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number that nobody named
        return f"uid {os.getuid()}"


@contextmanager
def told_plainly(*errors: type[Exception]) -> Generator[None]:
    """These errors, which name their remedy, reach people as one message without a traceback, and end with code 1."""
    try:
        yield
    except errors as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
