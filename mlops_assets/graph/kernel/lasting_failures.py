"""Which failures last until the data, the code or the declaration changes. They are tags of their run; any other failure, such as
one of a disk, a server or a killed process, may pass by itself.
"""

import errno
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from mlops_assets.foundation.mistakes import OF_SQLITE, REMEDIES, OfEveryPartition, chain_of, errno_of, sqlite_code
from mlops_assets.foundation.outages import outage_of
from mlops_assets.graph.kernel.failures import one_sentence
from mlops_assets.graph.kernel.outages import tried_again

MISTAKE = "mlops/mistake_in_"  # with the asset; the value is the version of its code
# As MISTAKE, of one that every partition has: a part of them fails, too, and none is tried.
OF_EVERY_PARTITION = "mlops/mistake_of_every_partition_in_"
CORRECTED = "corrected"  # the value of MISTAKE once a person has corrected what no version of the code shows
# A person corrects these outside of the platform, which notices nothing: a permission, a size, a password.
OUTSIDE = {*REMEDIES, errno.EMFILE, errno.ENFILE}


@contextmanager
def failing_by_rule(context: Any) -> Generator[None]:
    """Every asset, check and IO manager runs in it: what a person can correct is one sentence, an outage is tried again in the
    run, and what lasts is recorded, so that automation does not try it again (conditions.py).
    """
    with one_sentence(), tried_again(context), _mistakes_recorded(context):
        yield


class FailingByRule(dg.IOManager):
    """Stores and loads as another IO manager does, and fails by rule."""

    def __init__(self, manager: dg.IOManager) -> None:
        self._manager = manager

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        with failing_by_rule(context):
            self._manager.handle_output(context, obj)

    def load_input(self, context: dg.InputContext) -> Any:
        with failing_by_rule(context):
            return self._manager.load_input(context)


def mistake_in(key: dg.AssetKey, tags: Mapping[str, str]) -> str | None:
    """The version of the code of an asset whose failure in a run with these tags lasts; None where it does not."""
    return tags.get(tag_of(key))


def is_of_every_partition(tags: Mapping[str, str], key: dg.AssetKey | None = None) -> bool:
    """Whether the mistake of an asset, or of any in a run with these tags, is one that every partition has."""
    return tag_of(key, OF_EVERY_PARTITION) in tags if key else any(tag.startswith(OF_EVERY_PARTITION) for tag in tags)


def has_mistake(tags: Mapping[str, str]) -> bool:
    return any(tag.startswith(MISTAKE) for tag in tags)


def lasts(error: BaseException) -> bool:
    if isinstance(error, dg.Failure):
        return not error.allow_retries
    is_own = type(error).__module__.partition(".")[0] == "mlops_assets"
    return outage_of(error) is None and not any(map(_is_outside, chain_of(error))) and (is_own or not isinstance(error, OSError))


def _is_outside(error: BaseException) -> bool:
    is_of_database = any(one.__name__ == "OperationalError" for one in type(error).__mro__)
    return is_of_database or isinstance(error, MemoryError) or errno_of(error) in OUTSIDE or sqlite_code(error) in OF_SQLITE


@contextmanager
def _mistakes_recorded(context: Any) -> Generator[None]:
    try:
        yield
    except dg.RetryRequested:
        raise
    except Exception as error:  # of a library or the user's code; raised again, so that the step fails by it
        if lasts(error):
            _record(context, [MISTAKE, OF_EVERY_PARTITION] if _is_of_every_partition(error) else [MISTAKE])
        raise


def _is_of_every_partition(error: BaseException) -> bool:
    """Those of code are raised whatever the rows are; a column that a transform does not find is one of no row."""
    from polars.exceptions import ColumnNotFoundError, SchemaError

    cause = error.__context__ if isinstance(error, dg.Failure) else error  # what a sentence describes
    return isinstance(cause, (OfEveryPartition, NameError, ImportError, SyntaxError, ColumnNotFoundError, SchemaError))


def _record(context: Any, prefixes: Sequence[str]) -> None:
    """What this step makes, and what follows from it in the run, has no newer code to be tried with. A check makes nothing."""
    is_of_io_manager = isinstance(context, (dg.InputContext, dg.OutputContext))
    step = context.step_context if is_of_io_manager else context.get_step_execution_context()
    layer = step.job_def.asset_layer
    if made := layer.get_assets_def_for_node(step.node_handle):
        keys = dg.AssetSelection.assets(*made.keys).downstream().resolve(layer.asset_graph)
        codes = {key: layer.asset_graph.get(key).code_version or "" for key in keys & {*layer.executable_asset_keys}}
        tags = {tag_of(key, prefix): code for key, code in codes.items() for prefix in prefixes}
        step.instance.add_run_tags(step.run_id, tags)


def tag_of(key: dg.AssetKey, prefix: str = MISTAKE) -> str:
    return prefix + key.to_python_identifier()
