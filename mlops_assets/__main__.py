"""Entry point of `mlops` and of `python -m mlops_assets`."""

import signal

from mlops_assets.foundation.interrupt import end


def main() -> None:
    """Until a command begins (about a second), Ctrl-C ends the process as a signal does, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
    from mlops_assets.cli.app import app

    app(prog_name="mlops")


if __name__ == "__main__":
    main()
