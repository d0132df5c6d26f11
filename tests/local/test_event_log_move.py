"""A home whose event log is stored where earlier versions of dagster.yaml put it keeps its history."""

from pathlib import Path

import dagster as dg

from mlops_assets.local.platform import move_event_log

EARLIER = """
event_log_storage:
  module: dagster._core.storage.event_log
  class: SqliteEventLogStorage
  config: {{base_dir: {folder}/history}}
telemetry: {{enabled: false}}
"""


@dg.asset
def rows() -> None: ...


def test_the_history_of_an_earlier_home_is_moved_once_to_dagsters_default(tmp_path: Path) -> None:
    config = tmp_path / "dagster.yaml"
    config.write_text(EARLIER.format(folder=tmp_path))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = dg.materialize([rows], instance=instance).run_id
    config.write_text("telemetry: {enabled: false}")
    for _ in range(2):
        move_event_log(tmp_path / "history")
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            event = instance.get_latest_materialization_event(rows.key)
            assert event and event.run_id == run
            assert instance.all_logs(run) and instance.get_run_by_id(run)
