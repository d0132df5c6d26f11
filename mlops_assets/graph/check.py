"""Finds what a declaration alone does not show: its transforms' columns, its prediction log, its Feast service, its graph."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from mlops_assets.graph.compile import build_use_case
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
    return [*(f"{where} · {problem}" for problem in problems), *_log_problems(use_case), *_graph_problems(use_case, where)]


def _log_problems(use_case: UseCase) -> list[str]:
    from mlops_assets.serving.log.prediction_log import log_schema

    try:
        log_schema(use_case)
    except IllegalDeclaration as error:
        return [str(error)]
    return []


def _graph_problems(use_case: UseCase, where: str) -> list[str]:
    try:
        with warnings.catch_warnings(action="ignore"):  # Dagster's, about its own parameters
            build_use_case(use_case)
    except dg.DagsterError as error:
        return [f"{where} · does not compile: {' '.join(str(error).split())}. Correct it."]
    return []
