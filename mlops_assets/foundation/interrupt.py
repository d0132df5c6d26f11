"""Ctrl-C that ends the process at once, as the signal itself does: no traceback, nothing is closed in order."""

import signal
from collections.abc import Generator
from contextlib import contextmanager


def end(number: int, _frame: object) -> None:
    """A handler. SIG_DFL is none while modules load: Polars, when imported, replaces it by a handler that does nothing."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


@contextmanager
def interrupted_at_once() -> Generator[None]:
    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
