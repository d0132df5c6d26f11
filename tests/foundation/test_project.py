"""The project is found from the working folder upwards, and what its pyproject.toml says is read or refused."""

from pathlib import Path

import pytest

from mlops_assets.foundation.home import IllegalEnvironment, read_environment
from mlops_assets.foundation.project import PROJECT, SHIPPED, IllegalProject, Project, find_project


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_the_nearest_project_above_the_working_folder_has_home_and_use_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = write(tmp_path / "outer", '[tool.mlops]\nuse_cases = ["a.use_cases", "b.use_cases"]\n')
    inner = write(outer / "inner", '[tool.mlops]\nuse_cases = "churn.use_cases"\n')
    deep = write(inner / "docs" / "deep", '[project]\nname = "no project of ours"\n')
    monkeypatch.chdir(deep)
    assert find_project({}) == Project(inner, ("churn.use_cases",))
    assert find_project({"MLOPS_PROJECT": f"{outer}\n"}) == Project(outer, ("a.use_cases", "b.use_cases"))
    environment = read_environment({})
    assert (environment.project, environment.home.root) == (inner, inner / ".mlops")
    assert read_environment({"MLOPS_HOME": "data"}).home.root == inner / "data"


def test_without_a_project_it_is_the_checkout_also_where_the_working_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    assert find_project({}) == Project(PROJECT, (SHIPPED,))
    gone.rmdir()
    assert find_project({}) == Project(PROJECT, (SHIPPED,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.mlops\n", "it is no TOML: "),
        ("[tool.mlops]\n", r"\[tool.mlops\] is {}; legal: use_cases = \"churn.use_cases\", or a list of packages. Correct it."),
        ("[tool.mlops]\nuse_cases = []\n", "legal: use_cases"),
        ("[tool.mlops]\nuse_cases = ''\n", "legal: use_cases"),
        ("[tool.mlops]\nuse_case = 'a'\n", "{'use_case': 'a'}; legal: use_cases"),
        ("[tool.mlops]\nuse_cases = ['a', 1]\n", "legal: use_cases"),
    ],
)  # fmt: skip
def test_an_illegal_project_is_refused_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(write(tmp_path, text))
    with pytest.raises(IllegalProject, match=f"{tmp_path}/pyproject.toml · .*{message}"):
        find_project({})
    with pytest.raises(IllegalEnvironment, match=message):
        read_environment({})


def test_a_variable_that_names_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IllegalProject, match=r"MLOPS_PROJECT · .* has no pyproject.toml with \[tool.mlops\]"):
        find_project({"MLOPS_PROJECT": str(tmp_path)})
