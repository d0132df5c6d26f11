"""Entry point of `mlops` and of `python -m mlops_assets`."""

import signal


def main() -> None:
    """Ctrl-C while the modules load (about a second) ends the process as a signal does, without a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mlops_assets.cli.app import app

    signal.signal(signal.SIGINT, before)
    app(prog_name="mlops")


if __name__ == "__main__":
    main()
