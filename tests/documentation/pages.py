"""The pages of the documentation and their code blocks."""

import re
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path
from typing import Any, NamedTuple

from mlops_assets.foundation.home import PROJECT

PAGES = ("README.md", "deploy/README.md", *sorted(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (acme/\w+\.py)\n")


class Block(NamedTuple):
    """A code block; `file` is where its first line says that it is stored, such as acme/net.py."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        match = FILE.match(self.text)
        return match[1] if match else ""


def read_page(page: str) -> str:
    return (PROJECT / page).read_text()


def blocks_of(page: str, *languages: str) -> list[Block]:
    text = read_page(page)
    blocks = [Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in BLOCK.finditer(text)]
    return [block for block in blocks if not languages or block.language in languages]


@contextmanager
def package_of(page: str, root: Path) -> Generator[Path]:
    """The package acme of a page, importable: its blocks that name a file, written there as they are."""
    (root / "acme").mkdir()
    for block in blocks_of(page, "python"):
        if block.file:
            (root / block.file).write_text(block.text)
    sys.path.insert(0, str(root))
    invalidate_caches()
    try:
        yield root / "acme"
    finally:
        sys.path.remove(str(root))
        for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
            del sys.modules[name]


def run_file(path: Path, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a file after it ran with these."""
    values = dict(variables)
    exec(compile(path.read_text(), str(path), "exec"), values)
    return values
