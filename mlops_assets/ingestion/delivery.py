"""The end of a delivery: a file _SUCCESS in the landing folder of a use case, as Hadoop and Spark write into a whole output.

Without one, a platform waits until no file has come for some seconds, as more files may belong to the same delivery.
"""

import os
from collections.abc import Collection
from pathlib import Path

from mlops_assets.foundation.atomic_file import replace_file

SUCCESS = "_SUCCESS"


def complete(landing: Path, use_case: str) -> None:
    """Says that every file of this delivery has landed. Without a folder of the use case nothing has, and nothing is written."""
    if (landing / use_case).is_dir():
        replace_file(landing / use_case / SUCCESS, b"")


def completed_at(landing: Path, use_case: str) -> int:
    """When the last delivery was complete, in nanoseconds of the epoch by the clock of the file system; 0 before the first."""
    try:
        return (landing / use_case / SUCCESS).stat().st_ctime_ns
    except OSError:
        return 0


def has_changed(landing: Path, use_case: str, tables: Collection[str], since: int) -> bool:
    """Whether an entry of these tables came, went or was written anew after a moment."""
    return any(_folder_changed(landing / use_case / table, since) for table in tables)


def _folder_changed(folder: Path, since: int) -> bool:
    try:
        if folder.stat().st_mtime_ns > since:
            return True
        with os.scandir(folder) as entries:
            return any(entry.stat(follow_symlinks=False).st_ctime_ns > since for entry in entries)
    except FileNotFoundError:
        return False
    except OSError:
        return True
