"""A folder of Feast declarations as files: what they are now, and how Feast's parser must find them.

Belongs here: the digest and the import surroundings. Not here: Feast (feature_store).
"""

import importlib
import sys
from collections.abc import Generator
from contextlib import chdir, contextmanager
from hashlib import sha256
from pathlib import Path


def digest(repo: Path) -> str:
    """SHA-256 over the names and contents of the repo's Python files, in hex."""
    files = sorted(repo.rglob("*.py"))
    parts = [part for file in files for part in (str(file.relative_to(repo)).encode(), file.read_bytes())]
    return sha256(b"\0".join(parts)).hexdigest()


@contextmanager
def as_working_folder(repo: Path) -> Generator[None]:
    """Feast names the modules of a repo relative to the working folder and imports them from there, as its command does."""
    modules = {path.stem for path in repo.glob("*.py")}
    others = {name: sys.modules.pop(name) for name in modules if name in sys.modules}
    importlib.invalidate_caches()
    sys.path.insert(0, str(repo))
    try:
        with chdir(repo):
            yield
    finally:
        sys.path.remove(str(repo))
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(others)
