"""What each declared task owns, one module a task: TASKS maps the declared classes to them."""

from typing import Any

from mlops_assets.spec import task as declared
from mlops_assets.tasks.binary import BinaryTask
from mlops_assets.tasks.multiclass import MulticlassTask
from mlops_assets.tasks.regression import RegressionTask
from mlops_assets.tasks.task import Task

TASKS: dict[type[declared.Task], type[Task[Any]]] = {
    declared.Binary: BinaryTask,
    declared.Multiclass: MulticlassTask,
    declared.Regression: RegressionTask,
}


def task_of(task: declared.Task) -> Task[Any]:
    return TASKS[type(task)](task)
