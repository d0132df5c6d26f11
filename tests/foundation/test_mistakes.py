"""What a person reads when a file or a disk cannot be read or written."""

import errno
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.foundation.mistakes import ACCESS, REMEDIES, describe_mistake, is_correctable

WRITE = "from pathlib import Path; from mlops_assets.foundation.atomic_file import replace_file; from mlops_assets.foundation.mistakes import describe_mistake\ntry: replace_file(Path({path!r}), b'x' * 10)\nexcept OSError as error: print(describe_mistake(error))"


@pytest.mark.parametrize("code", REMEDIES, ids=errno.errorcode.__getitem__)
def test_a_mistake_names_the_file_the_reason_and_the_remedy(code: int) -> None:
    error = OSError(code, os.strerror(code), "/home/keys/private.pem")
    assert describe_mistake(error) == f"/home/keys/private.pem · {os.strerror(code).lower()}. {REMEDIES[code]}."


@pytest.mark.parametrize(
    "error",
    [
        OSError("the lock is held"),
        OSError(errno.EACCES, "denied"),
        FileNotFoundError(2, "No such file", "a.csv"),
        ValueError("bad"),
    ],
    ids=str,
)
def test_every_other_error_keeps_its_message(error: Exception) -> None:
    assert describe_mistake(error) == str(error) and ACCESS not in str(error)


def test_a_write_beyond_the_limit_of_the_disk_is_named_with_its_file(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    command = [sys.executable, "-c", WRITE.format(path=str(tmp_path / "plan.json"))]
    ran = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{tmp_path / 'plan.json'} · file too large. Free space there, or raise the limit.\n"


FULL = "a file of the home · no space left on device. Free space there, or raise the limit."


def test_a_full_disk_is_named_however_many_libraries_report_it() -> None:
    def wrap(cause: Exception) -> Exception:
        try:
            try:
                raise cause
            except Exception as error:
                raise RuntimeError(f"{error} (Background on this error at: https://sqlalche.me/e/21/e3q8)") from error
        except Exception as error:  # noqa: BLE001
            return error

    in_rust = ValueError("Failed to parse parquet: Generic LocalFileSystem error: No space left on device (os error 28)")
    in_sqlite = sqlite3.OperationalError("database or disk is full")
    in_sqlite.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert is_correctable(in_rust) and describe_mistake(in_rust) == FULL
    assert describe_mistake(wrap(in_rust)) == FULL
    assert describe_mistake(wrap(in_sqlite)) == (
        "a database of the home · database or disk is full. Free space there, or raise the limit."
    )
    assert describe_mistake(wrap(OSError(errno.ENOSPC, "No space left on device", "/home/a"))).startswith("/home/a · no space")
