"""The platform names no use case, and no column, view or table of one: what is special about a use case stands in its folder."""

import re
from pathlib import Path

import pytest

from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import USE_CASES

PACKAGE = Path(__file__).parents[1] / "mlops_assets"
OWN = ("use_cases", "local/demo")  # the demo tells the story of one use case


def own_words(use_case: UseCase) -> set[str]:
    """Names of a use case that are no words of the language: month and sample have a meaning everywhere."""
    columns = [name for contract in use_case.contracts for name in (contract.table, *contract.names)]
    views = [view.name for view in use_case.features.views]
    return {use_case.name, *(name for name in (*columns, *views, *use_case.features.inputs) if "_" in name)}


@pytest.mark.parametrize("use_case", USE_CASES, ids=lambda use_case: use_case.name)
def test_no_platform_module_has_a_name_of_a_use_case(use_case: UseCase) -> None:
    words = own_words(use_case)
    assert len(words) > 1
    modules = [path for path in PACKAGE.rglob("*.py") if not path.relative_to(PACKAGE).as_posix().startswith(OWN)]
    named = {path.name: found for path in modules if (found := words & {*re.findall(r"\w+", path.read_text())})}
    assert len(modules) > 100 and named == {}
