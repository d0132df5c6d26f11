"""The platform names no use case, and no column, view or table of one: what is special about a use case is in its folder."""

import re
from functools import cache

import pytest

from mlops_assets.foundation.home import PROJECT
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import USE_CASES

FOLDERS = ("mlops_assets", "deploy", "feature_repo")
# The use cases, the demo of one of them, and the example of a new project.
OWN = ("mlops_assets/use_cases/", "mlops_assets/local/demo/", "mlops_assets/local/project/")
SUFFIXES = {".py", ".yaml", ".jinja", ".sh", ".tf", ".sql", ".Dockerfile"}  # documentation may show an example
# Names that are also words of the language, of a library or of a file format, with another meaning in the platform.
ORDINARY = {
    "alt", "built", "conditions", "diagnosis", "digit", "distance", "engine", "flight", "hour", "image", "images", "model",
    "month", "name", "origin", "outcomes", "registered", "sample", "samples", "schedule", "temp", "type", "weekday",
}  # fmt: skip


def own_words(use_case: UseCase) -> set[str]:
    columns = [name for contract in use_case.contracts for name in (contract.table, *contract.names)]
    return {use_case.name, *columns, *(view.name for view in use_case.features.views), *use_case.features.inputs}


@cache
def platform_words() -> dict[str, set[str]]:
    """The words of each file, by its path."""
    files = [path for folder in FOLDERS for path in (PROJECT / folder).rglob("*") if path.suffix in SUFFIXES]
    texts = {path.relative_to(PROJECT).as_posix(): path.read_text() for path in files}
    return {path: {*re.findall(r"\w+", text)} for path, text in texts.items() if not path.startswith(OWN)}


@pytest.mark.parametrize("use_case", USE_CASES, ids=lambda use_case: use_case.name)
def test_no_platform_file_has_a_name_of_a_use_case(use_case: UseCase) -> None:
    names = own_words(use_case) - ORDINARY
    assert len(names) > 1
    assert {path: names_in_file for path, words in platform_words().items() if (names_in_file := words & names)} == {}


def test_the_files_are_those_of_the_whole_platform() -> None:
    read = platform_words()
    assert len(read) > 400 and {path.partition("/")[0] for path in read} == {*FOLDERS}


def test_every_ordinary_word_is_still_a_name_and_a_word_of_the_platform() -> None:
    names, words = (set[str]().union(*word_sets) for word_sets in (map(own_words, USE_CASES), platform_words().values()))
    assert names & words >= ORDINARY
