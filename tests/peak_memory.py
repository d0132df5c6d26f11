"""The most memory that this process has had, for scripts that tests run."""

import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Of Linux not `ru_maxrss`, which a process inherits from the one that started it: a small script has that of pytest."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
