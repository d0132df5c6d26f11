"""Compares the feature service that a use case declares with the one that feature_repo declares, before anything is applied."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_assets.features.feast.feast_internals import import_feast, read_repo
from mlops_assets.foundation import names
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase


def find_service_problems(use_case: UseCase, repo: Path, features: Mapping[str, Mapping[str, object]]) -> list[str]:
    """`features` are the columns that each view returns as its features; a view without them is not compared. Imports Feast."""
    if not use_case.features.views:
        return []
    import_feast()
    try:
        declared = read_repo(repo)
    except Exception as error:  # noqa: BLE001 - the folder has code of the user, which may fail in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return [f"features.service · {repo.name} does not load: {reason}. Correct it."]
    services = {service.name: service for service in declared.feature_services}
    if use_case.features.service not in services:
        known = ", ".join(sorted(services)) or "none"
        found = f"{use_case.features.service!r} is not declared in {repo.name}; services: {known}"
        return [f"features.service · {found}. Use one of these, or declare it there."]
    views = {view.name: view for view in declared.feature_views}
    projections = [one.name for one in services[use_case.features.service].feature_view_projections]
    return [*_view_list(use_case, repo, projections), *_views(use_case, repo, views, features)]


def _view_list(use_case: UseCase, repo: Path, projections: list[str]) -> Iterator[str]:
    declared = [view.name for view in use_case.features.views]
    if sorted(declared) != sorted(projections):
        found = f"{use_case.features.service!r} has the views {', '.join(projections) or 'none'} in {repo.name}"
        yield f"features.service · {found}; declared: {', '.join(declared) or 'none'}. Make them equal."


def _views(
    use_case: UseCase, repo: Path, views: Mapping[str, Any], features: Mapping[str, Mapping[str, object]]
) -> Iterator[str]:
    for view in (view for view in use_case.features.views if view.name in views):
        for what, found, legal in _differences(use_case, view, views[view.name], features.get(view.name)):
            problem = f"{what} {found or 'none'} in {repo.name}; declared: {legal or 'none'}"
            yield f"features.views[{view.name}] · {problem}. Make them equal."


def _differences(
    use_case: UseCase, view: FeatureView, registered: Any, features: Mapping[str, object] | None
) -> Iterator[tuple[str, str, str]]:
    """What differs, as in feature_repo, and as declared."""
    compared = {
        "has the join keys": (registered.join_keys, view.entity),
        "reads the table": ([registered.batch_source.path], [names.feature_source(use_case.name, view.name)]),
    }
    if features:
        compared["has the features"] = (sorted(field.name for field in registered.features), sorted(features))
        whole = [field.name for field in registered.features if field.dtype.to_value_type().name.startswith("INT")]
        cut = [name for name in whole if str(features.get(name)).startswith("Float")]
        compared["would cut to whole numbers"] = (cut, [])
    for what, (found, legal) in compared.items():
        if [*found] != [*legal]:
            yield what, ", ".join(found), ", ".join(legal)
