"""Finds what a declaration alone does not show: its transforms' columns, its prediction log, its Feast service, its graph."""

from collections.abc import Sequence
from pathlib import Path

from mlops_assets.graph.compile import compile_use_cases
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase


def find_problems(use_cases: Sequence[UseCase], repo: Path) -> list[str]:
    """One line per problem: where, what was found, what is legal, what to do. Writes nothing; imports Polars and Feast."""
    return [problem for use_case in use_cases for problem in _find(use_case, repo)]


def _find(use_case: UseCase, repo: Path) -> list[str]:
    from mlops_assets.features.declared_columns import find_column_problems, returned_columns, view_features
    from mlops_assets.features.feast.declared_service import find_service_problems

    features = view_features(use_case, returned_columns(use_case)[0])
    problems = [*find_column_problems(use_case), *find_service_problems(use_case, repo, features)]
    where = f"{use_case.name} · UseCase"
    return [*(f"{where} · {problem}" for problem in problems), *_log_problems(use_case), *compile_use_cases([use_case])[1]]


def _log_problems(use_case: UseCase) -> list[str]:
    from mlops_assets.serving.log.prediction_log import log_schema

    try:
        log_schema(use_case)
    except IllegalDeclaration as error:
        return [str(error)]
    return []
