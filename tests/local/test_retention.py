"""What Dagster's settings remove by themselves, and what an operator may remove (docs/operating.md)."""

import re
import subprocess
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType

from mlops_assets.foundation.home import PROJECT

SETTINGS = (PROJECT / "dagster.yaml", PROJECT / "deploy/k8s/base/dagster.yaml")
MAX_DAYS = 90
COMMAND = re.compile(r"`(find dagster/history/runs [^`]*) -mtime \+90 -delete`")


@pytest.mark.parametrize("file", SETTINGS, ids=lambda file: file.parent.name)
def test_no_tick_is_kept_for_ever(file: Path, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"retention": yaml.safe_load(file.read_text())["retention"]}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        for kind in InstigatorType:
            kept = instance.get_tick_retention_settings(kind)
            assert kept and all(0 < days <= MAX_DAYS for days in kept.values()), kind


def test_removed_files_of_runs_take_nothing_but_their_log(tmp_path: Path) -> None:
    command = COMMAND.search((PROJECT / "docs/operating.md").read_text())
    assert command

    @dg.asset
    def number() -> int:
        return 1

    (folder := tmp_path / "dagster").mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        old = dg.materialize([number], instance=instance).run_id
        assert instance.all_logs(old)
    subprocess.run(f"{command[1]} -delete", shell=True, check=True, cwd=tmp_path)
    later = folder.rename(tmp_path / "later")  # in this process the removed files of the first folder are still open
    with dg.DagsterInstance.from_config(str(later)) as instance:
        event = instance.get_latest_materialization_event(number.key)
        assert event and event.run_id == old and [run.run_id for run in instance.get_runs()] == [old]
        assert not instance.all_logs(old)
        new = dg.materialize([number], instance=instance).run_id
        assert instance.all_logs(new) and len(instance.get_runs()) == 2
