"""Which errors are the caller's to correct: their message says what to do, and a traceback would not help."""

import errno

# MLflow's messages name what it did not find; matched by name, as importing MLflow takes a second.
CORRECTABLE = {"mlops_assets", "mlflow"}
ACCESS, ROOM = "Let the user of this process read and write it", "Free space there, or raise the limit"
REMEDIES = {
    errno.EACCES: ACCESS, errno.EPERM: ACCESS, errno.EROFS: "Mount its disk for writing",
    errno.ENOSPC: ROOM, errno.EDQUOT: ROOM, errno.EFBIG: ROOM,
}  # fmt: skip


def is_correctable(error: BaseException) -> bool:
    """Errors of this package, of MLflow and of the operating system are; every other one is a defect."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in CORRECTABLE


def describe_mistake(error: BaseException) -> str:
    """The message, with what to do about a file or disk that refuses, of which the operating system says only that it does."""
    remedy = REMEDIES.get(error.errno or 0) if isinstance(error, OSError) and error.filename else None
    return f"{error.filename} · {str(error.strerror).lower()}. {remedy}." if isinstance(error, OSError) and remedy else str(error)
