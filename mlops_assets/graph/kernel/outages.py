"""A step is tried again after an outage, and after no other error."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from mlops_assets.foundation.outages import outage_of


@contextmanager
def tried_again(context: Any) -> Generator[None]:
    """Tries the step of a Dagster context again after an outage; after the last pause, the outage fails the step."""
    try:
        yield
    except (dg.RetryRequested, dg.Failure):
        raise
    except Exception as error:  # any library's may be an outage; what is none goes on as it is
        if not (outage := outage_of(error)):
            raise
        number, tries = _tries_before(context), len(outage.pauses_s) + 1
        if number + 1 >= tries:  # what Dagster shows of one more request is that there were too many
            raise
        pause_s = outage.pauses_s[number]
        context.log.warning(f"Try {number + 2} of {tries} follows in {pause_s} s, as {outage.noun}: {error}")
        raise dg.RetryRequested(tries - 1, seconds_to_wait=pause_s) from error


def _tries_before(context: Any) -> int:
    is_of_io_manager = isinstance(context, (dg.InputContext, dg.OutputContext))
    return context.step_context.previous_attempt_count if is_of_io_manager else context.retry_number
