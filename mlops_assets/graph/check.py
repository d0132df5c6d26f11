"""Finds what a declaration alone does not show: its transforms' columns, its prediction log, its graph."""

from collections.abc import Iterator, Sequence
from importlib import import_module

from mlops_assets.graph.compile import compile_use_cases
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase


def find_problems(use_cases: Sequence[UseCase]) -> list[str]:
    """One line per problem: where, what was found, what is legal, what to do. Writes nothing; imports Polars."""
    return [problem for use_case in use_cases for problem in _find(use_case)]


def _find(use_case: UseCase) -> list[str]:
    from mlops_assets.features.declared_columns import find_column_problems
    from mlops_assets.foundation.implementation import find_missing_functions
    from mlops_assets.training.imported import find_trainer_problems

    problems = [
        *find_column_problems(use_case),
        *find_trainer_problems(use_case),
        *find_missing_functions("gates", use_case.gates),
        *find_missing_functions("monitors", use_case.own_monitors),
        *find_missing_functions("triggers", use_case.triggers),
        *_example_problems(use_case.example),
    ]
    where = f"{use_case.name} · UseCase"
    return [*(f"{where} · {problem}" for problem in problems), *_log_problems(use_case), *compile_use_cases([use_case])[1]]


def _example_problems(example: str) -> Iterator[str]:
    """Why `mlops land` and `mlops run` could not land the example deliveries."""
    module, _, function = example.partition(":")
    try:
        if module and not callable(getattr(import_module(module), function, None)):
            yield f"example · {module} has no function {function!r}. Add it, or correct the name."
    except ImportError as error:
        yield f"example · {module} cannot be imported: {error}. Correct the name, or leave it out."


def _log_problems(use_case: UseCase) -> list[str]:
    from mlops_assets.serving.log.prediction_log import log_schema

    try:
        log_schema(use_case)
    except IllegalDeclaration as error:
        return [str(error)]
    return []
