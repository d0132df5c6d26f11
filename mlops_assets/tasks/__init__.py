"""What each declared task owns, one module a task."""

from pkgutil import resolve_name
from typing import Any

from mlops_assets.spec import task as declared
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.tasks.task import Task


def task_of(task: declared.Task) -> Task[Any]:
    """Raises IllegalDeclaration where its implementation cannot be imported."""
    try:
        implementation = resolve_name(task.IMPLEMENTATION)
    except (ImportError, AttributeError, ValueError) as error:
        problem = f"IMPLEMENTATION is {task.IMPLEMENTATION!r}: {error}; legal: module:Class. Correct it (docs/tasks.md)."
        raise IllegalDeclaration(f"{type(task).__name__} · {problem}") from error
    return implementation(task)
