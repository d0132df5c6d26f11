"""Every code block of the documentation runs, or is read by the program that it is for; what cannot run here has a reason."""

import ast
import re
import shlex
import tomllib
from datetime import timedelta
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any

import click
import pytest
import typer
import yaml

import mlops_assets.spec
from mlops_assets.cli.app import app
from mlops_assets.foundation.home import PROJECT
from mlops_assets.spec.spec import Spec
from tests.documentation.pages import PAGES, Block, blocks_of, read_page

# Blocks with files of a package acme run in the test of their page, and those of a client of the service in a test with a server.
FILES = {
    "docs/trainers.md": "tests/training/trainers/test_documented.py",
    "docs/gates.md": "tests/documentation/test_own_gate.py",
    "docs/monitors.md": "tests/documentation/test_own_monitor.py",
    "docs/tasks.md": "tests/documentation/test_own_task.py",
}
CLIENT = "tests/integration/test_documented_clients.py"
TUTORIAL = "tests/integration/test_own_model.py"
# Programs whose commands are not parsed here.
NOT_PARSED = {
    "cd": "of the shell",
    "mkdir": "of the system",
    "chgrp": "of the system",
    "chown": "of the system",
    "umask": "of the shell",
    "openssl": "of the system",
    "chmod": "of the system",
    "tar": "of the system; tests/integration/bento_trial.py does the same",
    "python3.11": "tests/integration/bento_trial.py does the same",
    "venv/bin/pip": "tests/integration/bento_trial.py does the same",
    "venv/bin/bentoml": "tests/integration/bento_trial.py does the same",
    "pip": "installs; tests/local/test_new_project.py does the same",
    "docker": "no Docker daemon where the tests run",
    "kubectl": "tests/deploy/test_kubernetes.py renders and checks every overlay",
    "terraform": "tests/deploy/test_terraform.py",
    "prometheus": "tests/integration/test_observability.py does the same",
    "alertmanager": "tests/integration/test_observability.py does the same",
    "bentoml": "its containerize needs a Docker daemon",
}
LANGUAGES = {"", "sh", "bash", "python", "toml", "yaml", "nginx"}  # a drawing has none; nginx is not installed for tests
SHORTENED = ("README.md", "USE_CASE = UseCase(")  # its values are left out, so only the names of words and fields are checked


def all_blocks(*languages: str) -> list[Any]:
    return [pytest.param(block, id=block.place) for page in PAGES for block in blocks_of(page, *languages)]


@cache
def vocabulary() -> dict[str, Any]:
    modules = [import_module(f"mlops_assets.spec.{module.name}") for module in iter_modules(mlops_assets.spec.__path__)]
    words = {name: word for module in modules for name, word in vars(module).items() if isinstance(word, type)}
    return {name: word for name, word in words.items() if issubclass(word, Spec)} | {"timedelta": timedelta}


def is_run_elsewhere(block: Block) -> bool:
    return bool(block.file and block.page in FILES) or "bentoml" in block.text or block.page == "docs/own_model.md"


@pytest.mark.parametrize("block", [one for one in all_blocks("python") if not is_run_elsewhere(one.values[0])])
def test_a_declaration_is_legal(block: Block) -> None:
    if (block.page, block.text.partition("\n")[0]) == SHORTENED:
        return check_names(block.text)
    exec(compile(block.text, block.place, "exec"), dict(vocabulary()))


def check_names(text: str) -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(text.replace(", ...", "")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    for word, names in ((call.func.id, [keyword.arg for keyword in call.keywords]) for call in calls):  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        assert word == "timedelta" or {*names} <= {*vocabulary()[word].model_fields}, (word, names)


@pytest.mark.parametrize("block", all_blocks("toml", "yaml"))
def test_a_configuration_is_read(block: Block) -> None:
    assert {"toml": tomllib.loads, "yaml": yaml.safe_load}[block.language](block.text)


def commands(block: Block) -> list[list[str]]:
    """The words of each command, without variables before it."""
    words_of_commands: list[list[str]] = []
    for line in re.sub(r"\n +(?=\")", " ", block.text).splitlines():
        for command in re.split(r" && ", line) if "curl" not in line else [line]:
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            words_of_commands += [words] if words else []
    return words_of_commands


@pytest.mark.parametrize("block", all_blocks("sh", "bash"))
def test_a_command_exists_with_its_options(block: Block) -> None:
    for program, *arguments in commands(block):
        if program.rpartition("/")[2] == "mlops":
            parse(typer.main.get_command(app), arguments)
        elif program == "dagster":
            (entry,) = entry_points(group="console_scripts", name="dagster")
            parse(entry.load().__globals__["cli"], arguments)
        elif program == "make":
            assert re.search(rf"^{arguments[0]}:", read_page("Makefile"), re.MULTILINE), arguments
        elif program == "curl":
            check_address(next(argument for argument in arguments if argument.startswith("localhost")))
        else:
            assert program in NOT_PARSED, f"{block.place} · {program} has neither a parser nor a reason. Add one."


def check_address(address: str) -> None:
    assert re.fullmatch(r"localhost:3000/flight_delay/(plan|predict)", address), address


def parse(command: Any, arguments: list[str]) -> None:
    """As the program itself does it, without running the command: every name, option and value must be legal."""
    context = click.Context(command, info_name="mlops")
    while hasattr(command, "commands"):
        name, *arguments = arguments
        assert name in command.commands, f"no command {name}; there are {sorted(command.commands)}"
        command, context = command.commands[name], click.Context(command.commands[name], context, info_name=name)
    for parameter in command.params:
        if hasattr(parameter.type, "exists"):
            parameter.type.exists = False  # of a file that the reader has
    command.parse_args(context, arguments)


INLINE = [
    pytest.param(page, match[1], id=f"{page}: {match[1]}")
    for page in PAGES
    for match in re.finditer(r"`(mlops [^`]+)`", re.sub(r"```.*?```", "", read_page(page), flags=re.DOTALL).replace("\n", " "))
]


@pytest.mark.parametrize(("page", "text"), INLINE)
def test_a_command_in_the_text_exists(page: str, text: str) -> None:
    _, *arguments = shlex.split(text.replace("VERSION", "1").replace("…", "x"))
    try:
        parse(typer.main.get_command(app), arguments)
    except click.MissingParameter:
        assert len(arguments) <= 2, f"{page} · {text}"  # a name such as `mlops new`


@cache
def headings(page: str) -> set[str]:
    texts = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", read_page(page), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_has_a_target(page: str) -> None:
    for address in re.findall(r"\]\(([^)\s]+)\)", read_page(page)):
        path, _, anchor = address.partition("#")
        if path.startswith("http"):
            continue
        target = (PROJECT / page).parent / path if path else PROJECT / page
        assert target.exists(), address
        assert not anchor or anchor in headings(str(target.resolve().relative_to(PROJECT))), address


def test_the_tests_that_run_the_other_blocks_are_there_and_every_language_is_known() -> None:
    assert all((PROJECT / test).exists() for test in (*FILES.values(), CLIENT, TUTORIAL))
    assert {block.language for page in PAGES for block in blocks_of(page)} == LANGUAGES


def test_the_drawing_of_the_code_names_every_folder() -> None:
    drawn = {block for block in blocks_of("README.md", "") if "spec/" in block.text}
    names = {*re.findall(r"^  (\w+)/", next(iter(drawn)).text, re.MULTILINE)}
    assert names == {path.parent.name for path in (PROJECT / "mlops_assets").glob("*/__init__.py")}
