"""The task of docs/tasks.md, copied to files verbatim, is declared, evaluated and compared in a rollout by its own loss."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.task import Multiclass
from mlops_assets.tasks import task_of
from mlops_assets.use_cases.handwriting import USE_CASE
from tests.documentation.pages import package_of, run_file

OUTPUT = np.array([[0.8, 0.2, 0.0], [0.8, 0.0, 0.2], [0.0, 0.0, 1.0]])
TRUTH = np.array([0, 0, 0])


@pytest.fixture
def grade(tmp_path: Path) -> Iterator[Any]:
    with package_of("docs/tasks.md", tmp_path) as acme:
        yield run_file(acme / "use_case.py", {"Grade": import_module("acme.grade").Grade})["task"]


def test_a_miss_by_two_grades_counts_more_than_by_one(grade: Any) -> None:
    task = task_of(grade)
    assert task.losses(OUTPUT, TRUTH, task.edges(OUTPUT)).tolist() == pytest.approx([0.02, 0.04, 1.0])
    assert task.details(TRUTH, OUTPUT)["mean_miss_in_grades"] == pytest.approx(2 / 3)
    assert task.sample(TRUTH, OUTPUT).measure(["accuracy"])["accuracy"] == pytest.approx(2 / 3)


def test_it_is_the_task_of_a_use_case_and_its_module_is_part_of_the_code_version_of_the_evaluation(
    tmp_path: Path, grade: Any
) -> None:
    use_case = USE_CASE.but(task=grade.but(label=USE_CASE.task.label, classes=[*map(str, range(10))]))
    assert task_of(use_case.task).outputs == 10
    before, code = use_case.fingerprint("evaluation"), tmp_path / "acme" / "grade_task.py"
    code.write_text(code.read_text() + "# another line\n")
    assert use_case.fingerprint("evaluation") != before


@pytest.mark.usefixtures("grade")
def test_an_implementation_that_is_not_there_is_named() -> None:
    class Lost(Multiclass):
        IMPLEMENTATION = "acme.grade_task:Grading"

    with pytest.raises(IllegalDeclaration, match=r"Lost · IMPLEMENTATION is 'acme.grade_task:Grading': .*docs/tasks.md"):
        task_of(Lost(label="state", classes=("good", "poor")))
