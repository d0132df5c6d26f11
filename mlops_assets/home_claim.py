"""One platform writes to a home, and one event log has its runs: the claim of both, and the resource that makes it."""
# Dagster generates the class with its type argument left open.
# pyright: reportMissingTypeArgument=false

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import dagster as dg

from mlops_assets.foundation.home_lock import claim_home, reading, require_event_log

HOME_KEY = "mlops/home"  # of the value in which an event log records its home


def event_log_id(instance: dg.DagsterInstance) -> str:
    """The same in every process of one platform, and different in any other platform."""
    # Undocumented; tests/test_resources.py is its canary. Not in dagster_internals.py, as resources.py is a layer below.
    storage: Any = instance.run_storage
    return storage.get_run_storage_id()


def claim(root: Path, instance: dg.DagsterInstance) -> None:
    """The home is written by this platform alone, and the event log has the runs of this home alone. Raises HomeInUse."""
    claim_home(root, event_log_id(instance))
    storage = instance.daemon_cursor_storage
    recorded = storage.get_cursor_values({HOME_KEY}).get(HOME_KEY, "")
    home = require_event_log(root, Path(instance.root_directory).resolve(), recorded)
    if home != recorded:
        storage.set_cursor_values({HOME_KEY: home})


class HomeLock(dg.ConfigurableResource):
    """Claims the home for the platform whose run or sensor needs this resource, before it writes."""

    root: str

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Self]:
        """An erasure waits for the end of the run. Raises HomeInUse."""
        if context.instance:
            claim(Path(self.root), context.instance)
        with reading(Path(self.root)):
            yield self
