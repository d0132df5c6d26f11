"""How a run ends for a cause that a person can remove: with the sentence of the error, without the traceback."""

from collections.abc import Generator
from contextlib import contextmanager

import dagster as dg

from mlops_assets.foundation.mistakes import describe_mistake, is_correctable


@contextmanager
def one_sentence() -> Generator[None]:
    """Every asset, check and IO manager runs in it. A defect keeps its traceback."""
    try:
        yield
    except Exception as error:  # what is no mistake goes on as it is
        if not is_correctable(error):
            raise
        raise dg.Failure(describe_mistake(error), allow_retries=False) from None
