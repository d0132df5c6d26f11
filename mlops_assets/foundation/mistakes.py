"""Which errors are the caller's to correct: their message says what to do, and a traceback would not help."""

# MLflow's messages name what it did not find; matched by name, as importing MLflow takes a second.
CORRECTABLE = {"mlops_assets", "mlflow"}


def is_correctable(error: BaseException) -> bool:
    """Errors of this package, of MLflow and of the operating system are; every other one is a defect."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in CORRECTABLE
