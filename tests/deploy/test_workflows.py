"""The workflows of GitHub, as far as they go without it: they are read, their scripts parse, and their commands exist. None has run."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from packaging.specifiers import SpecifierSet

from mlops_assets.cli.app import app
from mlops_assets.foundation.home import PROJECT
from tests.deploy.test_kubernetes import OVERLAYS, pods, rendered_from
from tests.documentation.test_blocks import parse

FILES = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[str, Any]] = {
    path.name: yaml.load(path.read_text(), yaml.BaseLoader) for path in FILES
}  # `on` is no bool
JOBS = [pytest.param(job, id=f"{name}: {key}") for name, one in WORKFLOWS.items() for key, job in one["jobs"].items()]
DIGEST = f"registry.example.com/mlops/platform@sha256:{'ab' * 32}"
SET_IMAGE = "deploy/gitops/set-image.sh"


def scripts(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job.get("steps", ()) if "run" in step]


def test_a_token_may_only_read_unless_a_job_says_more() -> None:
    assert {*WORKFLOWS} == {"ci.yml", "images.yml", "deploy.yml", "model.yml"}
    assert all(one["permissions"] == {"contents": "read"} for one in WORKFLOWS.values())


@pytest.mark.parametrize("job", JOBS)
def test_a_job_ends_and_its_actions_have_a_version(job: dict[str, Any]) -> None:
    assert "uses" in job or int(job["timeout-minutes"]) <= 60
    used = [step["uses"] for step in job.get("steps", ()) if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", one) for one in used)
    assert "uses" not in job or (PROJECT / job["uses"]).is_file()


@pytest.mark.parametrize("job", JOBS)
def test_a_script_is_parsed_and_values_from_outside_reach_it_as_variables_alone(job: dict[str, Any]) -> None:
    for script in scripts(job):
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
        assert "${{" not in script
        for named in re.findall(r"(?:^|-f )((?:deploy|\.ci)/[\w./-]+)", script, re.MULTILINE):
            assert (PROJECT / named).is_file()


@pytest.mark.parametrize("job", JOBS)
def test_every_command_of_a_script_exists(job: dict[str, Any]) -> None:
    for line in re.findall(r"\.venv/bin/mlops (.+?) \|\|", "\n".join(scripts(job))):
        parse(typer.main.get_command(app), shlex.split(line))
    makefile = (PROJECT / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)", "\n".join(scripts(job)), re.MULTILINE):
        assert f"\n{target}: " in makefile or f"READY := {target}\n" in makefile


def test_nothing_is_pushed_before_every_image_is_scanned_and_the_scan_blocks() -> None:
    steps = WORKFLOWS["images.yml"]["jobs"]["images"]["steps"]
    scans = [number for number, step in enumerate(steps) if step.get("uses", "").startswith("anchore/scan-action")]
    (push,) = [number for number, step in enumerate(steps) if "docker push" in step.get("run", "")]
    assert max(scans) < push and [steps[number]["with"]["image"] for number in scans] == ["platform", "predictions"]
    assert all(steps[number]["with"]["fail-build"] == "true" and "continue-on-error" not in steps[number] for number in scans)


def test_only_a_job_that_runs_no_code_of_a_pull_request_may_write() -> None:
    train, comment = WORKFLOWS["model.yml"]["jobs"].values()
    assert "permissions" not in train and train["steps"][0]["with"]["persist-credentials"] == "false"
    assert comment["permissions"] == {"contents": "write", "pull-requests": "write"}
    assert comment["steps"][0]["with"]["ref"] == "${{ github.event.pull_request.base.sha }}" and ".venv" not in str(comment)


def test_ci_runs_the_tests_on_every_python_that_the_package_supports() -> None:
    jobs = WORKFLOWS["ci.yml"]["jobs"].values()
    set_up = [step["with"]["python-version"] for job in jobs for step in job["steps"] if "setup-python" in step.get("uses", "")]
    matrix = [version for job in jobs for version in job.get("strategy", {}).get("matrix", {}).get("python-version", ())]
    supported = SpecifierSet(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"])
    tested = [version for version in [*set_up, *matrix] if "matrix" not in version]
    assert sorted(tested) == [version for minor in range(100) if supported.contains(version := f"3.{minor}")]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_gets_an_image_by_its_digest_and_runs_get_it_too(tmp_path: Path, overlay: str) -> None:
    shutil.copytree(PROJECT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("terraform", "__pycache__"))
    assert set_image(tmp_path, overlay, "platform", DIGEST).returncode == 0
    made = pods(rendered_from(tmp_path / "deploy" / "k8s" / "overlays" / overlay))
    code, daemon, predictions = (made[name]["spec"]["containers"][0] for name in ("code", "dagster-daemon", "predictions"))
    assert code["image"] == daemon["image"] == DIGEST != predictions["image"]
    assert {"name": "DAGSTER_CURRENT_IMAGE", "value": DIGEST} in daemon["env"]


def test_an_illegal_digest_or_an_unknown_image_changes_nothing(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("terraform", "__pycache__"))
    file = tmp_path / "deploy" / "k8s" / "overlays" / "dev" / "kustomization.yaml"
    before = file.read_text()
    for image, value, message in (
        ("platform", "mlops/platform:latest", "found mlops/platform:latest; legal: REPOSITORY@sha256:DIGEST"),
        ("platforms", DIGEST, "it has no image platforms"),
    ):
        done = set_image(tmp_path, "dev", image, value)
        assert done.returncode == 1 and message in done.stderr
    assert file.read_text() == before


def set_image(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([root / SET_IMAGE, *arguments], capture_output=True, text=True, check=False)


def test_the_pictures_of_a_comment_are_those_of_its_branch(tmp_path: Path) -> None:
    (script,) = scripts(WORKFLOWS["model.yml"]["jobs"]["comment"])
    (loop,) = re.findall(r"^for page.*?^done", script, re.DOTALL | re.MULTILINE)
    page = tmp_path / "review" / "loans" / "evaluation.md"
    page.parent.mkdir(parents=True)
    page.write_text("| gate |\n\n![roc curve](roc curve.png)\n")
    done = subprocess.run(
        ["bash", "-c", loop], cwd=tmp_path, env={"at": "https://x/raw/1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "| gate |\n\n![roc curve](https://x/raw/1/review/loans/roc curve.png)\n"
